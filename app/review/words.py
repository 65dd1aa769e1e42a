"""Codes in words, for people."""

from collections.abc import Iterable
from typing import Any, Final

from agents.hard_blocks import Rule
from schemas.codes import DraftStatus

WORDS: Final[dict[str, str]] = {
    "below_threshold": "The confidence is below the threshold.",
    "no_confidence": "The evaluator gave no usable answer.",
    "evaluation_without_answer": "The evaluator gave no usable answer.",
    "draft_only": "This campaign always asks a person.",
    "revision_not_improved": "A revision did not make it better.",
    "revision_claim_failed": "The right to revise could not be taken.",
    "revision_interrupted": "The revision was interrupted.",
    "revision_deadline_exceeded": "The revision took too long.",
    "revision_error": "The revision failed.",
    "revision_hard_blocked": "A rule forbids sending this text by itself.",
    "revision_mode_not_eligible": "This campaign does not revise.",
    "hard_blocked": "A rule forbids sending this text by itself.",
    "over_budget": "The workspace's budget for this month is used up.",
    "budget_unavailable": "Nobody could tell what is left of the budget for this month.",
    "auto_send_disabled": "Automatic sending is switched off.",
    "switched_off": "Automatic sending is switched off.",
    "mode_changed": "The campaign's mode was changed meanwhile.",
    "policy_now_stricter": "The threshold was raised meanwhile.",
    "newer_elsewhere": "The lead wrote in another conversation meanwhile.",
    "too_old": "The message is older than the workspace's limit.",
    "attachments": "The message has attachments.",
    "forged_sender": "The sender's address may be forged.",
    "no_adapter": "This channel has no way to send.",
    "no_recipient": "There is no address to send to.",
    "no_business_hours": "The workspace has no business hours in the coming year.",
    "rate_limited": "Too many automatic replies in this conversation.",
    "too_many_replies": "Too many automatic replies in this conversation.",
    "meeting_already_booked": "The meeting was booked by another run.",
    "meeting_time_gone": "The meeting's time is not free any more.",
    "meeting_time_not_held": "The meeting's time is not held any more.",
    "booking_refused": "The reply agrees to a time that was not cleared for booking.",
    "worker_died": "It may have been sent: the answer of the provider was lost.",
    "channel_changed": "It may have been sent, by a provider that the channel does not lead to any more.",
    "adapter_failed": "It may have been sent: the sending failed without an answer.",
    "fence_behind": "It could not be made sure that there is no newer message.",
    "unexpected_error": "Something failed on our side.",
    "quarantined": "The database was restored: it may have been answered before.",
    "undone": "A person took a scheduled send back.",
}

RULES: Final[dict[str, str]] = {
    Rule.EMPTY: "The text is empty.",
    Rule.OVER_LONG: "The text is too long.",
    Rule.PROMPT_REPEATED: "It repeats the instructions of the model.",
    Rule.FENCE_MARK: "It holds marks of how it was made.",
    Rule.CONTROL_CHARACTER: "It holds hidden characters.",
    Rule.PLACEHOLDER: "A placeholder was not filled in.",
    Rule.MARKUP: "It holds markup, which no reply has.",
    Rule.MODEL_TALK: "It speaks to a model, not to the lead.",
    Rule.OTHER_LEAD: "It holds data of another lead.",
    Rule.AMOUNT: "An amount that is in no source.",
    Rule.PERCENTAGE: "A percentage that is in no source.",
    Rule.DATE: "A date that is in no source.",
    Rule.WEEKDAY: "Weekday and date do not agree.",
    Rule.TIME: "A time that is in no source.",
    Rule.ALREADY_BOOKED: "The meeting was booked by another run.",
    Rule.MEETING: "A meeting time that is not free.",
    Rule.LINK: "A link that is in no source.",
    Rule.EMAIL: "A mail address that is in no source.",
    Rule.PHONE: "A phone number that is in no source.",
    Rule.IDENTIFIER: "A number or reference that is in no source.",
    Rule.PROMISE: "A promise that the workspace does not allow.",
    Rule.INSTRUCTIONS: "It repeats the workspace's instructions.",
    Rule.TOPIC: "A topic on which a person is always asked.",
    Rule.MAYBE_OPT_OUT: "The lead may want to hear no more.",
    Rule.FORBIDDEN_PHRASE: "A phrase that the workspace forbids.",
    Rule.WRONG_LANGUAGE: "It is not in the language of the lead.",
    Rule.ASKS_PRIVATE: "It asks the lead for private data.",
}

RESULTS: Final[dict[str, str]] = {
    "approved": "Approved",
    "edited": "Edited and approved",
    "rejected": "Rejected",
    "confirmed_resend": "Sent again on request",
    "left_unknown": "Left as it is",
    "undone": "Taken back",
}

# Why a decision was not carried out: `refused_...` without its beginning.
REFUSALS: Final[dict[str, str]] = {
    "text_changed": "the text of the draft changed",
    "recipient_changed": "the recipient changed",
    "newer_inbound": "the lead wrote again",
    "answered": "somebody answered meanwhile",
    "lead_suppressed": "the lead wants no more messages",
    "policy_changed": "the policy changed",
    "expired": "the time to decide had ended",
    "being_sent": "it is being sent right now",
    "not_approvable": "this workspace's replies are sent by another system",
    "context_gone": "what it was checked against is past retention",
    "delivery_exists": "a send of this draft exists",
    "draft_sent": "it was sent before",
    "already_approved": "somebody approved it before",
    "not_bound": "it does not say what was seen",
    "not_scheduled": "it is not waiting to be sent, or is being sent right now",
    "draft_erased": "the lead was erased",
    "draft_scheduled": "it is to be sent already",
    "draft_rejected": "somebody rejected it before",
    "draft_superseded": "it was overtaken",
    "draft_suppressed": "the lead wants no more messages",
    "draft_expired": "the time to decide had ended",
    "draft_unknown": "it may have been sent already",
    "draft_pending": "it was not sent before",
}

STATUSES: Final[dict[str, str]] = {
    DraftStatus.PENDING: "It waits for a decision.",
    DraftStatus.SCHEDULED: "It is to be sent.",
    DraftStatus.SENT: "It was sent.",
    DraftStatus.REJECTED: "It was rejected and not sent.",
    DraftStatus.SUPERSEDED: "It was overtaken and will not be sent.",
    DraftStatus.SUPPRESSED: "The lead wants no more messages; it will not be sent.",
    DraftStatus.EXPIRED: "Nobody decided in time; it was not sent.",
    DraftStatus.UNKNOWN: "It may have been sent: nobody could tell.",
}

MAYBE_SENT: Final = "It may have been sent already: the provider's answer was lost."


def in_words(reason: str) -> str:
    """The sentence for a reason code; the code itself where there is none."""
    if reason in WORDS:
        return WORDS[reason]
    if reason in RULES:
        return RULES[reason]
    return f"A step failed: {reason}." if reason.endswith("_failed") else f"Reason: {reason}."


def rule_in_words(rule: str) -> str:
    return RULES.get(rule, f"Rule: {rule}.")


def places(text: str, blocks: Iterable[dict[str, Any]]) -> list[str]:
    """Each block in words with the words of the text it objects to. Blocks are as `ai_draft.hard_blocks` keeps them."""
    found = []
    for each in blocks:
        words = rule_in_words(each["rule"])
        found.append(f"{words} “{text[each['start'] : each['end']]}”" if 0 <= each["start"] < each["end"] else words)
    return list(dict.fromkeys(found))


def refusal_in_words(result: str) -> str:
    """`refused_...` as the end of a sentence."""
    code = result.removeprefix("refused_")
    if code in RULES:
        return f"a rule forbids this text. {RULES[code]}"
    if code in WORDS:
        return WORDS[code][0].lower() + WORDS[code][1:].rstrip(".")
    return REFUSALS.get(code, f"reason: {code}")
