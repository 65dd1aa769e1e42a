"""Reason codes in words, for people."""

from typing import Final

WORDS: Final[dict[str, str]] = {
    "below_threshold": "The confidence is below the threshold.",
    "no_confidence": "The evaluator gave no usable answer.",
    "draft_only": "This campaign always asks a person.",
    "revision_not_improved": "A revision did not make it better.",
    "revision_claim_failed": "The right to revise could not be taken.",
    "revision_interrupted": "The revision was interrupted.",
    "revision_deadline_exceeded": "The revision took too long.",
    "revision_error": "The revision failed.",
    "revision_hard_blocked": "A rule forbids sending this text by itself.",
    "hard_blocked": "A rule forbids sending this text by itself.",
    "over_budget": "The workspace's budget for this month is used up.",
    "budget_unavailable": "Nobody could tell what is left of the budget for this month.",
    "auto_send_disabled": "Automatic sending is switched off.",
    "switched_off": "Automatic sending is switched off.",
    "quarantined": "The database was restored: it may have been answered before.",
    "undone": "Somebody stopped the scheduled send.",
    "newer_elsewhere": "The lead wrote in another conversation meanwhile.",
    "too_old": "The message is older than the workspace's limit.",
    "attachments": "The message has attachments.",
    "forged_sender": "The sender's address may be forged.",
    "no_adapter": "This channel has no way to send.",
    "no_recipient": "There is no address to send to.",
    "rate_limited": "Too many automatic replies in this conversation.",
    "too_many_replies": "Too many automatic replies in this conversation.",
    "meeting_already_booked": "The meeting was booked by another run.",
    "meeting_time_gone": "The meeting's time is not free any more.",
    "meeting_time_not_held": "The meeting's time is not held any more.",
    "booking_refused": "The reply agrees to a time that was not cleared for booking.",
    "worker_died": "It may have been sent: the answer of the provider was lost.",
    "unexpected_error": "Something failed on our side.",
}


def in_words(reason: str) -> str:
    """The sentence for a reason code; the code itself where there is none."""
    if reason in WORDS:
        return WORDS[reason]
    return f"A step failed: {reason}." if reason.endswith("_failed") else f"Reason: {reason}."
