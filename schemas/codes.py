"""Closed vocabularies: stages, statuses with the moves they allow, outcomes, actions and reason codes."""

from enum import StrEnum
from typing import Final


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"
    LINKEDIN = "linkedin"
    CHAT = "chat"


class Mode(StrEnum):
    AI_AUTO_SEND = "AI_AUTO_SEND"
    LEGACY_AUTO_REPLY = "LEGACY_AUTO_REPLY"
    DRAFT_ONLY = "DRAFT_ONLY"
    OFF = "OFF"


class Stage(StrEnum):
    STRATEGY = "draft_strategy_step1"
    GENERATION = "draft_generation_step2"
    VERIFIER = "draft_verifier_step3"
    MEETING_EXTRACT = "meeting_overseer_extract"
    MEETING_GATE = "meeting_overseer_gate"
    EVALUATION = "auto_send_evaluation"
    SELECTOR = "auto_send_revision_selector"
    REVISER = "auto_send_revision_reviser"


# Artifacts that are no model call.
FINAL_DRAFT: Final = "final_draft"
LOOP_ERROR: Final = "loop_error"

FEATURE_ID: Final[dict[Stage, str]] = {
    Stage.STRATEGY: "draft.strategy",
    Stage.GENERATION: "draft.generation",
    Stage.VERIFIER: "draft.verifier",
    Stage.MEETING_EXTRACT: "meeting.extract",
    Stage.MEETING_GATE: "meeting.gate",
    Stage.EVALUATION: "auto_send.evaluate",
    Stage.SELECTOR: "auto_send.context_select",
    Stage.REVISER: "auto_send.revise",
}


class Phase(StrEnum):
    """Which agent a RUNNING run waits for. Moves forward only."""

    DRAFT = "draft"
    REVISE = "revise"
    DISPATCH = "dispatch"
    DONE = "done"


class RunStatus(StrEnum):
    """From RUNNING to one of the others, once: the trigger `draft_pipeline_run_moves_forward` allows nothing else."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"


class DraftStatus(StrEnum):
    PENDING = "pending"
    SCHEDULED = "scheduled"
    SENT = "sent"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class Action(StrEnum):
    SEND_IMMEDIATE = "send_immediate"
    SEND_DELAYED = "send_delayed"
    NEEDS_REVIEW = "needs_review"
    NONE = "none"


class RevisionOutcome(StrEnum):
    APPLIED = "applied"
    NOT_IMPROVED = "not_improved"
    NOT_NEEDED = "not_needed"
    HARD_BLOCKED = "hard_blocked"
    DISABLED_GLOBALLY = "disabled_globally"
    DISABLED_FOR_WORKSPACE = "disabled_for_workspace"
    MODE_NOT_ELIGIBLE = "mode_not_eligible"
    CLAIM_FAILED = "claim_failed"
    INTERRUPTED = "interrupted"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    SUPERSEDED = "superseded"
    OVER_BUDGET = "over_budget"
    ERROR = "error"


class OutcomeStatus(StrEnum):
    SCHEDULED = "scheduled"
    SENT = "sent"
    NOT_SENT = "not_sent"
    AWAITING_REVIEW = "awaiting_review"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    SUPPRESSED = "suppressed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class DraftFate(StrEnum):
    """What people filter and count drafts by: the columns of the view `draft_fate`, which defines them."""

    AI_SENT = "ai_sent"
    AI_REVIEW = "ai_review"
    REVISED_THEN_SENT = "revised_then_sent"


class DecidedBy(StrEnum):
    POLICY = "policy"
    REVIEWER = "reviewer"


class DeliveryStatus(StrEnum):
    SCHEDULED = "scheduled"
    CLAIMED = "claimed"
    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


class MeetingOutcome(StrEnum):
    """What becomes of a meeting that a lead wants: booked, a task for a person, a question back, or an error."""

    BOOKED = "booked"
    TASK_CREATED = "task_created"
    CLARIFICATION = "clarification"
    ERROR = "error"


class BookingStatus(StrEnum):
    HELD = "held"
    CONFIRMED = "confirmed"
    RELEASED = "released"


class Gate(StrEnum):
    """Why a recorded message started no run, or what became of it. Stored as `message.disposition`."""

    WAITING = "waiting"
    RUN = "run"
    JOINED = "joined_later_message"
    OUTBOUND = "outbound"
    MACHINE_MAIL = "machine_mail"
    OPT_OUT = "opt_out"
    SUPPRESSED = "lead_suppressed"
    MODE_OFF = "mode_off"
    DRAFT_FAILED = "draft_failed"


class DeadLetterReason(StrEnum):
    NULL_VALUE = "null_value"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    BAD_NUMBER = "bad_number"
    BAD_TEXT = "bad_text"
    UNKNOWN_VERSION = "unknown_version"
    INVALID_FIELD = "invalid_field"
    UNKNOWN_WORKSPACE = "unknown_workspace"
    REFUSED_BY_DATABASE = "refused_by_database"
    UNEXPECTED_ERROR = "unexpected_error"


class KillSwitch(StrEnum):
    AUTO_SEND_DISABLED = "AUTO_SEND_DISABLED"
    AUTO_SEND_REVISION_DISABLED = "AUTO_SEND_REVISION_DISABLED"
    LEAD_CONTEXT_BUNDLE_DISABLED = "LEAD_CONTEXT_BUNDLE_DISABLED"


class Role(StrEnum):
    SUPER_ADMIN = "super_admin"
    WORKSPACE_ADMIN = "workspace_admin"
    REVIEWER = "reviewer"
    OPS = "ops"
    ANALYST = "analyst"


class ReviewAction(StrEnum):
    """What a person does with a draft."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    CONFIRM_RESEND = "confirm_resend"
    UNDO = "undo"
