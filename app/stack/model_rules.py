"""The scripted model's judgement: from a stage, an iteration and what the prompt shows to an answer. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from app.stack.model_texts import CLAIMS, improve, language_of, write_reply

TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:\d\d)")
ZONE: Final = re.compile(r"\b(?:Africa|America|Asia|Australia|Europe|Pacific)/[A-Z][A-Za-z_]+")
SECTION: Final = re.compile(r'<(?:untrusted(?:-[0-9a-f]+)?|section) name="([a-z_]+)">|^- `([a-z_]+)`', re.MULTILINE)
SMOKE: Final = re.compile(r"\bzq[0-9a-f]{16}\b")  # the word of app/cli/smoking.py
SCHEDULING_WORDS: Final = ("meeting", "call me", "schedule", "appointment")
DELICATE_WORDS: Final = {"refund": "refund", "lawyer": "legal"}
SECTIONS_CHOSEN_MAX: Final = 3
CHANCE_BITS: Final = 32


class Fate(Enum):
    """What becomes of a message: the words stand for the confidence its drafts will get."""

    CLEAN = "clean"
    NEAR = "near"
    NEVER = "never"
    LOW = "low"
    CLAIM = "claim"
    NONSENSE = "nonsense"


MARKERS: Final = {
    "!!confident": Fate.CLEAN,
    "!!near": Fate.NEAR,
    "!!never": Fate.NEVER,
    "!!low": Fate.LOW,
    "!!claim": Fate.CLAIM,
    "!!nonsense": Fate.NONSENSE,
}
# Upper ends of the shares, in order; what is left over is clean.
SHARES: Final = (
    (0.55, Fate.CLEAN),
    (0.683, Fate.NEAR),
    (0.75, Fate.NEVER),
    (0.85, Fate.LOW),
    (0.93, Fate.CLAIM),
    (0.94, Fate.NONSENSE),
)


@dataclass(frozen=True)
class Asked:
    """One request, read: `text` is everything the user part of the prompt shows."""

    stage: str
    iteration: int
    text: str

    @property
    def message(self) -> str:
        """The inbound message; the whole text when the prompt does not mark it."""
        found = block(self.text, "trigger_message")
        return self.text if found is None else found

    @property
    def draft(self) -> str | None:
        """The draft as it stands, if the prompt shows one."""
        return block(self.text, "draft")

    @property
    def number(self) -> int:
        """The message as a number: all chance in the answers comes from it."""
        return int.from_bytes(hashlib.sha256(self.message.encode(errors="replace")).digest()[:8])


def block(text: str, name: str) -> str | None:
    """The content of `<untrusted name="NAME">` (with the mark of its run) or `<section name="NAME">`, without the line
    ends at its edges."""
    found = re.search(rf'<(untrusted(?:-[0-9a-f]+)?|section) name="{name}">', text)
    if found is None:
        return None
    return text[found.end() :].partition(f"</{found[1]}>")[0].removeprefix("\n").removesuffix("\n")


def fate_of(message: str, number: int) -> Fate:
    """Markers first, then delicate words, then chance by the message's hash."""
    lower = message.lower()
    for marker, fate in MARKERS.items():
        if marker in lower:
            return fate
    if any(word in lower for word in DELICATE_WORDS):
        return Fate.LOW
    chance = (number >> CHANCE_BITS) / 2**CHANCE_BITS
    fate = next((fate for end, fate in SHARES if chance < end), Fate.CLEAN)
    if fate is Fate.NONSENSE and SMOKE.search(lower):
        return Fate.CLEAN  # `smoke` calls a draft without confidence a problem, and its word is drawn anew each time
    return Fate.CLEAN if fate in (Fate.CLAIM, Fate.NONSENSE) and _wants_meeting(message) else fate


def answer(asked: Asked) -> dict[str, Any] | str:
    """The answer of a stage by rule; a plain string is no valid answer and is sent as it is.

    :raises KeyError: for a stage nobody knows.
    """
    return _STAGES[asked.stage](asked)


def _wants_meeting(message: str) -> bool:
    lower = message.lower()
    return any(word in lower for word in SCHEDULING_WORDS)


def _strategy(asked: Asked) -> dict[str, Any]:
    scheduling = _wants_meeting(asked.message)
    return {
        "intent": "find a time to talk" if scheduling else "get help",
        "goals": ["acknowledge the message", "offer a next step" if scheduling else "ask for what is missing"],
        "must_avoid": ["figures that nobody confirmed", "promises"],
        "scheduling": scheduling,
        "language": language_of(asked.message),
    }


def _reply(asked: Asked) -> str:
    message, number = asked.message, asked.number
    text = write_reply(message, language_of(message), _wants_meeting(message), number)
    if fate_of(message, number) is Fate.CLAIM:
        body, _, closing = text.rpartition("\n\n")
        return f"{body} {CLAIMS[number % len(CLAIMS)]}\n\n{closing}"
    return text


def _generation(asked: Asked) -> dict[str, Any]:
    return {"text": _reply(asked)}


def _verifier(asked: Asked) -> dict[str, Any]:
    return {"text": asked.draft or _reply(asked), "changes": []}


def _extract(asked: Asked) -> dict[str, Any]:
    message = asked.message
    times = TIME.findall(message)
    slots = TIME.findall(block(asked.text, "free_slots") or "")
    accepted = times[0] if times else slots[0] if slots and "the first slot" in message.lower() else None
    zone = ZONE.search(message) or ZONE.search(block(asked.text, "lead_timezone") or "")
    return {
        "proposed_times": times,
        "timezone": zone.group() if zone else "UTC" if accepted else None,
        "accepted_time": accepted,
    }


def _gate(asked: Asked) -> dict[str, Any]:
    if "!!gate" in asked.message.lower():
        text = improve(asked.draft or _reply(asked), language_of(asked.message), 1)
        return {"decision": "revise", "text": text, "reason": "The reply should ask for the lead's time zone."}
    return {"decision": "approve", "text": None, "reason": "The reply leaves the choice of the time to the lead."}


def _evaluation(asked: Asked) -> dict[str, Any] | str:
    message, number = asked.message, asked.number
    fate, lower = fate_of(message, number), message.lower()
    if fate is Fate.NONSENSE:
        return "I think this reply is rather good, all things considered."
    categories = [category for word, category in DELICATE_WORDS.items() if word in lower]
    return {
        "confidence": _confidence(fate, number, asked.iteration, delicate=bool(categories)),
        "reasons": [_REASONS[fate]],
        "categories": categories or (["scheduling"] if _wants_meeting(message) else ["general"]),
    }


def _confidence(fate: Fate, number: int, iteration: int, delicate: bool) -> float:
    step = number % 1000 / 1000
    match fate:
        case Fate.LOW:
            return 0.4 if delicate else round(0.2 + 0.3 * step, 3)
        case Fate.NEVER:
            return round(0.70 + 0.15 * step + 0.01 * iteration, 3)
        case Fate.NEAR if iteration < 1 + number // 1000 % 2:
            return round(0.70 + 0.17 * step + 0.01 * iteration, 3)
        case Fate.NEAR:
            return round(0.92 + 0.05 * step, 3)
        case _:
            return round(0.90 + 0.08 * step, 3)


def _selector(asked: Asked) -> dict[str, Any]:
    named = [first or second for first, second in SECTION.findall(asked.text)]
    names = [name for name in dict.fromkeys(named) if name not in ("trigger_message", "draft", "assessment")]
    return {"sections": names[:SECTIONS_CHOSEN_MAX], "guidance": "Answer the question first and keep to what is known."}


def _reviser(asked: Asked) -> dict[str, Any]:
    text = improve(asked.draft or _reply(asked), language_of(asked.message), max(asked.iteration, 1))
    return {"text": text, "changes": ["added a sentence that makes the reply easier to act on"]}


_REASONS: Final = {
    Fate.CLEAN: "The reply answers the message and claims nothing.",
    Fate.NEAR: "The reply is polite but could be more specific.",
    Fate.NEVER: "The reply stays vague about what the lead asked.",
    Fate.LOW: "The message is delicate and the reply may not settle it.",
    Fate.CLAIM: "The reply answers the message in full.",
    Fate.NONSENSE: "",
}
_STAGES: Final[dict[str, Callable[[Asked], dict[str, Any] | str]]] = {
    "draft_strategy_step1": _strategy,
    "draft_generation_step2": _generation,
    "draft_verifier_step3": _verifier,
    "meeting_overseer_extract": _extract,
    "meeting_overseer_gate": _gate,
    "auto_send_evaluation": _evaluation,
    "auto_send_revision_selector": _selector,
    "auto_send_revision_reviser": _reviser,
}
STAGES: Final = frozenset(_STAGES)
