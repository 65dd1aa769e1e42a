"""Backfill, judgement: what an old draft gets, and why it gets nothing. Pure; never a send, never a downgrade."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from agents.hard_blocks import HardBlock
from agents.policy import Reason, reaches
from schemas.codes import Action, DraftStatus, Mode


class Result(StrEnum):
    """What became of a draft. `skip:` is an expected gate, `error:` (followed by its code) is not."""

    SENT = "done:sent"
    JUDGED_READY = "done:judged_confident"
    JUDGED_REVIEW = "done:judged_needs_review"
    WOULD_MARK_SENT = "would:sent"
    WOULD_JUDGE = "would:judge"
    ERASED = "skip:lead_erased"
    NOT_PENDING = "skip:not_pending"
    MODE = "skip:mode_not_eligible"
    NO_TEXT = "skip:no_text"
    NO_TRIGGER = "skip:no_trigger_message"
    SUPPRESSED = "skip:lead_suppressed"
    NEWER_INBOUND = "skip:newer_inbound"
    ANSWERED = "skip:outbound_after_trigger"
    BOOKED = "skip:already_booked"
    OVER_BUDGET = "skip:over_budget"
    DECIDED_MEANWHILE = "skip:decided_meanwhile"


@dataclass(frozen=True)
class MarkSent:
    """The decision that a sent draft must have had. `confidence` is one that was recorded and can be told safely."""

    action: Action
    evaluated_at: datetime | None
    confidence: float | None


class Judge:
    """The evaluator is asked."""


def plan(facts: Mapping[str, Any]) -> MarkSent | Judge | Result:
    """What a draft gets, from a row of `backfill_page`, or the first gate that stands against it."""
    if facts["ai_sent"]:
        action = Action.SEND_DELAYED if facts["sent_delayed"] else Action.SEND_IMMEDIATE
        return MarkSent(action, facts["sent_at"], facts["recorded_confidence"])
    gates = (
        (facts["erased"], Result.ERASED),
        (facts["status"] != DraftStatus.PENDING, Result.NOT_PENDING),
        (facts["mode"] != Mode.AI_AUTO_SEND, Result.MODE),
        (not facts["content"], Result.NO_TEXT),
        (not facts["has_trigger"], Result.NO_TRIGGER),
        (facts["suppressed"], Result.SUPPRESSED),
        (facts["newer_inbound"], Result.NEWER_INBOUND),
        (facts["answered"], Result.ANSWERED),
        (facts["booked"], Result.BOOKED),
    )
    return next((result for stands, result in gates if stands), Judge())


@dataclass(frozen=True)
class Verdict:
    """`action` None leaves the draft to the normal path: it has a confidence now, and nobody decided."""

    action: Action | None
    reason: Reason

    @property
    def result(self) -> Result:
        return Result.JUDGED_REVIEW if self.action is Action.NEEDS_REVIEW else Result.JUDGED_READY


def verdict(confidence: float, threshold: float, blocks: Sequence[HardBlock]) -> Verdict:
    """What a judgement means for an old draft: a person is asked when it is unsafe or below the threshold."""
    if blocks:
        return Verdict(Action.NEEDS_REVIEW, Reason.HARD_BLOCKED)
    if not reaches(confidence, threshold):
        return Verdict(Action.NEEDS_REVIEW, Reason.BELOW_THRESHOLD)
    return Verdict(None, Reason.CONFIDENT)
