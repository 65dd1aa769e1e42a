"""What another policy would have made of a decision that is on record. Pure; no model is asked.

A text that nobody wrote cannot be judged: where the other policy would have had a draft revised and no revision is on
record, the answer is that a person or a revision would have had it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agents.policy import Reason, reaches

# What stood against a send whatever the policy says; it still would.
CIRCUMSTANCES: Final = frozenset(
    {
        Reason.AUTO_SEND_DISABLED,
        Reason.NEWER_ELSEWHERE,
        Reason.TOO_OLD,
        Reason.ATTACHMENTS,
        Reason.FORGED_SENDER,
        Reason.NO_ADAPTER,
        Reason.NO_RECIPIENT,
        Reason.RATE_LIMITED,
        Reason.NO_BUSINESS_HOURS,
    }
)


class Fate(StrEnum):
    """`would_revise`: below the threshold, and no revision of it is on record."""

    SEND = "send"
    REVIEW = "review"
    WOULD_REVISE = "would_revise"


@dataclass(frozen=True)
class Recorded:
    """A decided draft of a workspace that sends by itself. `confidences` by iteration, 0 is the draft; `blocked` are
    the iterations whose text a hard block forbids, under the policy that is tried."""

    sent: bool
    reasons: frozenset[str]
    confidences: Mapping[int, float]
    blocked: frozenset[int]
    revision_possible: bool


def redecide(recorded: Recorded, threshold: float) -> tuple[Fate, int]:
    """What would become of it, and the iteration whose text that is about."""
    if 0 not in recorded.confidences or recorded.reasons & CIRCUMSTANCES or 0 in recorded.blocked:
        return Fate.REVIEW, 0
    if reaches(recorded.confidences[0], threshold):
        return Fate.SEND, 0
    revised = sorted(iteration for iteration in recorded.confidences if iteration > 0)
    for iteration in revised:
        if reaches(recorded.confidences[iteration], threshold):
            return (Fate.REVIEW if iteration in recorded.blocked else Fate.SEND), iteration
    if not revised and recorded.revision_possible:
        return Fate.WOULD_REVISE, 0
    return Fate.REVIEW, max(revised, default=0)
