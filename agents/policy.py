"""Pure decisions: may a draft be revised, may it be sent by itself, when, and what would have changed the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from pydantic import ValidationError

from agents.hard_blocks.zones import region
from agents.state import Judged
from schemas.codes import Action, Mode, OutcomeStatus, RevisionOutcome
from schemas.settings import BusinessHours, WorkspaceSettings

DAYS_AHEAD_MAX: Final = 400
SEND_DELAY_S_MAX: Final = 30 * 24 * 3600.0
NO_CONFIDENCE: Final = -1.0
SHOWN_PLACES_MIN: Final = 2


def reaches(confidence: float | None, threshold: float) -> bool:
    """A confidence equal to the threshold passes; no confidence never does."""
    return confidence is not None and confidence >= threshold


# ---- revision


@dataclass(frozen=True)
class RevisionFacts:
    """`globally_disabled`: the kill switch of revision or of sending is on. `confidence` None: no usable answer."""

    superseded: bool
    mode: Mode
    globally_disabled: bool
    workspace_enabled: bool
    hard_blocked: bool
    confidence: float | None
    threshold: float
    over_budget: bool


def revision_gate(facts: RevisionFacts) -> RevisionOutcome | None:
    """Why a draft is not revised: the first outcome that fits. None: it is eligible."""
    if facts.superseded:
        return RevisionOutcome.SUPERSEDED
    if facts.mode is not Mode.AI_AUTO_SEND:
        return RevisionOutcome.MODE_NOT_ELIGIBLE
    if facts.confidence is None:
        return RevisionOutcome.ERROR
    if facts.globally_disabled:
        return RevisionOutcome.DISABLED_GLOBALLY
    if not facts.workspace_enabled:
        return RevisionOutcome.DISABLED_FOR_WORKSPACE
    if facts.hard_blocked:
        return RevisionOutcome.HARD_BLOCKED
    if reaches(facts.confidence, facts.threshold):
        return RevisionOutcome.NOT_NEEDED
    return RevisionOutcome.OVER_BUDGET if facts.over_budget else None


def best_iteration(judged: Sequence[Judged]) -> Judged:
    """The text with the highest confidence, the earliest of equals; one without a confidence loses to any with one.

    So the original stays unless it is beaten. Raises ValueError when nothing was judged.
    """
    return max(judged, key=lambda one: (_confidence(one), -one.iteration))


def _confidence(judged: Judged) -> float:
    return judged.evaluation.confidence if judged.evaluation is not None else NO_CONFIDENCE


# ---- action


class Reason(StrEnum):
    """Why a draft was or was not sent by itself, in the order in which they are looked at."""

    SUPERSEDED = "superseded"
    ALREADY_ANSWERED = "already_answered"
    LEAD_SUPPRESSED = "lead_suppressed"
    MODE_OFF = "mode_off"
    LEGACY_MODE = "legacy_auto_reply"
    DRAFT_ONLY = "draft_only"
    NO_CONFIDENCE = "no_confidence"
    BELOW_THRESHOLD = "below_threshold"
    REVISION_CLAIM_FAILED = "revision_claim_failed"
    REVISION_INTERRUPTED = "revision_interrupted"
    REVISION_DEADLINE = "revision_deadline_exceeded"
    REVISION_ERROR = "revision_error"
    REVISION_HARD_BLOCKED = "revision_hard_blocked"
    REVISION_NOT_IMPROVED = "revision_not_improved"
    REVISION_OVER_BUDGET = "over_budget"
    REVISION_MODE = "revision_mode_not_eligible"
    HARD_BLOCKED = "hard_blocked"
    AUTO_SEND_DISABLED = "auto_send_disabled"
    QUARANTINED = "quarantined"
    NEWER_ELSEWHERE = "newer_elsewhere"
    TOO_OLD = "too_old"
    ATTACHMENTS = "attachments"
    FORGED_SENDER = "forged_sender"
    NO_ADAPTER = "no_adapter"
    NO_RECIPIENT = "no_recipient"
    RATE_LIMITED = "rate_limited"
    NO_BUSINESS_HOURS = "no_business_hours"
    MEETING_ALREADY_BOOKED = "meeting_already_booked"
    MEETING_TIME_GONE = "meeting_time_gone"
    MEETING_NOT_HELD = "meeting_time_not_held"
    BOOKING_REFUSED = "booking_refused"
    CONFIDENT = "confident"


# Outcomes after which a confident draft may be sent. The disabled ones come before `not_needed` in their order, so a
# draft that needed no revision has them too. All others ask a person, whatever the confidence.
_SENDABLE: Final = frozenset(
    {
        RevisionOutcome.NOT_NEEDED,
        RevisionOutcome.APPLIED,
        RevisionOutcome.DISABLED_GLOBALLY,
        RevisionOutcome.DISABLED_FOR_WORKSPACE,
    }
)
_OUTCOME_REASON: Final = {
    RevisionOutcome.CLAIM_FAILED: Reason.REVISION_CLAIM_FAILED,
    RevisionOutcome.INTERRUPTED: Reason.REVISION_INTERRUPTED,
    RevisionOutcome.DEADLINE_EXCEEDED: Reason.REVISION_DEADLINE,
    RevisionOutcome.ERROR: Reason.REVISION_ERROR,
    RevisionOutcome.HARD_BLOCKED: Reason.REVISION_HARD_BLOCKED,
    RevisionOutcome.NOT_IMPROVED: Reason.REVISION_NOT_IMPROVED,
    RevisionOutcome.OVER_BUDGET: Reason.REVISION_OVER_BUDGET,
    RevisionOutcome.MODE_NOT_ELIGIBLE: Reason.REVISION_MODE,
}
_MODE_REASON: Final = {
    Mode.OFF: Reason.MODE_OFF,
    Mode.LEGACY_AUTO_REPLY: Reason.LEGACY_MODE,
    Mode.DRAFT_ONLY: Reason.DRAFT_ONLY,
}


@dataclass(frozen=True)
class SendFacts:
    """What the decision on one draft rests on. `confidence` is the one of the chosen text, `outcome` its revision's.

    `hard_blocks` are the rules that block the exact text; `due` is `due_at(...)`, None when no business hour comes.
    `meeting_obstacle` is the code of what became of the time that the text agrees to; `booking_refused`: it agrees to
    one that the booking rules or the gate did not let it have.
    """

    mode: Mode
    confidence: float | None
    threshold: float
    outcome: RevisionOutcome
    now: datetime
    due: datetime | None
    hard_blocks: tuple[str, ...] = ()
    superseded: bool = False
    answered: bool = False
    suppressed: bool = False
    auto_send_disabled: bool = False
    quarantined: bool = False
    newer_elsewhere: bool = False
    too_old: bool = False
    attachments: bool = False
    forged_sender: bool = False
    has_adapter: bool = True
    has_recipient: bool = True
    rate_limited: bool = False
    meeting_obstacle: str | None = None
    booking_refused: bool = False


@dataclass(frozen=True)
class Decision:
    """`reasons` are codes, most important first, never empty; `scheduled_for` is set when the draft is to be sent."""

    action: Action
    status: OutcomeStatus
    reasons: tuple[str, ...]
    scheduled_for: datetime | None = None


def decide_action(facts: SendFacts) -> Decision:
    """What happens to a draft: sent at once or later, shown to a person, or nothing."""
    if facts.suppressed:
        return Decision(Action.NONE, OutcomeStatus.SUPPRESSED, (Reason.LEAD_SUPPRESSED,))
    if facts.superseded or facts.outcome is RevisionOutcome.SUPERSEDED:
        return Decision(Action.NONE, OutcomeStatus.SUPERSEDED, (Reason.SUPERSEDED,))
    if facts.answered:
        return Decision(Action.NONE, OutcomeStatus.SUPERSEDED, (Reason.ALREADY_ANSWERED,))
    if facts.mode in (Mode.OFF, Mode.LEGACY_AUTO_REPLY):
        return Decision(Action.NONE, OutcomeStatus.NOT_SENT, (_MODE_REASON[facts.mode],))
    doubts = review_reasons(facts)
    if doubts or facts.due is None:
        return Decision(Action.NEEDS_REVIEW, OutcomeStatus.AWAITING_REVIEW, doubts or (Reason.NO_BUSINESS_HOURS,))
    action = Action.SEND_DELAYED if facts.due > facts.now else Action.SEND_IMMEDIATE
    return Decision(action, OutcomeStatus.SCHEDULED, (Reason.CONFIDENT,), facts.due)


def review_reasons(facts: SendFacts) -> tuple[str, ...]:
    """Everything that speaks against sending by itself; empty only when nothing does. Each hard block is named."""
    doubts: list[str] = []
    if facts.mode is not Mode.AI_AUTO_SEND:
        doubts.append(_MODE_REASON[facts.mode])
    if facts.confidence is None:
        doubts.append(Reason.NO_CONFIDENCE)
    elif not reaches(facts.confidence, facts.threshold):
        doubts.append(Reason.BELOW_THRESHOLD)
    blocked_before = facts.outcome is RevisionOutcome.HARD_BLOCKED and facts.hard_blocks
    if facts.mode is Mode.AI_AUTO_SEND and facts.outcome not in _SENDABLE and not blocked_before:
        doubts.append(_OUTCOME_REASON[facts.outcome])
    if facts.hard_blocks:
        doubts += [Reason.HARD_BLOCKED, *facts.hard_blocks]
    circumstances = (
        (facts.auto_send_disabled, Reason.AUTO_SEND_DISABLED),
        (facts.quarantined, Reason.QUARANTINED),
        (facts.newer_elsewhere, Reason.NEWER_ELSEWHERE),
        (facts.too_old, Reason.TOO_OLD),
        (facts.attachments, Reason.ATTACHMENTS),
        (facts.forged_sender, Reason.FORGED_SENDER),
        (not facts.has_adapter, Reason.NO_ADAPTER),
        (not facts.has_recipient, Reason.NO_RECIPIENT),
        (facts.rate_limited, Reason.RATE_LIMITED),
        (facts.due is None, Reason.NO_BUSINESS_HOURS),
        (facts.meeting_obstacle is not None, facts.meeting_obstacle or ""),
        (facts.booking_refused, Reason.BOOKING_REFUSED),
    )
    return (*doubts, *(reason for holds, reason in circumstances if holds))


# ---- when


def business_hours(settings: WorkspaceSettings) -> BusinessHours | None:
    """The workspace's hours, None when it has none. Stored hours that make no sense are read as the default ones."""
    if settings.business_hours is None:
        return None
    try:
        return BusinessHours.model_validate(settings.business_hours)
    except ValidationError:
        return BusinessHours()


def due_at(now: datetime, settings: WorkspaceSettings, lead_timezone: str | None) -> datetime | None:
    """When a draft decided at `now` is to be sent, in UTC: after the delay, within business hours in the lead's zone.

    None when no business hour comes within `DAYS_AHEAD_MAX` days. Hours that end before they start end the next day.
    """
    delay = timedelta(seconds=min(max(0.0, settings.send_delay_s), SEND_DELAY_S_MAX))
    earliest = now.astimezone(UTC) + delay
    hours = business_hours(settings)
    if hours is None:
        return earliest
    zone = region(lead_timezone) or region(settings.timezone) or UTC
    start, end = hours.start.replace(tzinfo=None), hours.end.replace(tzinfo=None)
    yesterday = earliest.astimezone(zone).date() - timedelta(days=1)
    for day in (yesterday + timedelta(days=ahead) for ahead in range(DAYS_AHEAD_MAX)):
        if not hours.are_on(day):
            continue
        opens = datetime.combine(day, start, tzinfo=zone).astimezone(UTC)
        closes = datetime.combine(day + timedelta(days=end <= start), end, tzinfo=zone).astimezone(UTC)
        if max(earliest, opens) < closes:
            return max(earliest, opens)
    return None


# ---- why


def nearest_flip(confidence: float | None, threshold: float) -> str:
    """What would have turned the decision on the confidence, for people: the smallest change of either side."""
    needed = _shown(threshold)
    if confidence is None:
        return f"no confidence: a judgement of at least {needed} would have sent"
    given, apart = _shown(confidence), _shown(Decimal(str(threshold)) - Decimal(str(confidence)))
    if confidence < threshold:
        return f"{given} < {needed}: +{apart}, or a threshold of {given}, would have sent"
    return f"{given} >= {needed}: a threshold above {given}, or a confidence below {needed}, would have asked a person"


def _shown(value: float | Decimal) -> str:
    """At least two decimal places, and as many as there are."""
    exact = Decimal(str(value))
    written = f"{exact:f}"
    return written if len(written.partition(".")[2]) > SHOWN_PLACES_MIN else f"{exact:.{SHOWN_PLACES_MIN}f}"
