"""What the model is told about a lead: the base context, always, and the lead context bundle within its budgets.

All pure: the same snapshot gives the same bytes. Text stays as it was stored; `prompting.fence` makes it safe to show.
Tokens are estimated as one per four bytes of UTF-8, rounded up: cheap, a little high for English, close for the rest.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from schemas.context import BundleStatistics, DraftRunContextPack, DraftRunSnapshot, Section, Turn

PROFILES: Final = ("draft", "overseer", "evaluator", "followup")
BASE_SECTIONS: Final = ("conversation", "instructions", "knowledge", "free_slots")
BUNDLE_SECTIONS: Final = ("profile", "memory", "history", "knowledge", "free_slots")
SECTION_MEANING: Final[dict[str, str]] = {
    "instructions": "rules of the workspace and the campaign; the reviser is given them in any case",
    "profile": "what is stored about the lead",
    "memory": "notes kept about the lead from earlier exchanges",
    "history": "earlier messages outside this conversation, newest first",
    "knowledge": "knowledge entries that nobody has verified",
    "free_slots": "free appointments, one `start/end` per line",
    "conversation": "the messages of this conversation so far, oldest first",
}

BYTES_PER_TOKEN: Final = 4
BUDGET_TOKENS_MAX: Final = 100_000
WEIGHT_MAX: Final = 1_000
BASE_TOKENS_MAX: Final[dict[str, int]] = {
    "conversation": 6_000,
    "verified": 6_000,
    "knowledge": 2_000,
    "free_slots": 1_000,
}


@dataclass(frozen=True)
class Budget:
    """Tokens of one profile, shared out by weight. Weight 0 leaves a section out; what one does not need others get."""

    tokens: int
    weights: Mapping[str, float]


BUDGETS: Final[dict[str, Budget]] = {
    "draft": Budget(2_000, {"profile": 1, "memory": 3, "history": 3, "knowledge": 2, "free_slots": 1}),
    "overseer": Budget(1_200, {"profile": 2, "memory": 2, "history": 2, "knowledge": 0, "free_slots": 4}),
    "evaluator": Budget(1_500, {"profile": 1, "memory": 2, "history": 3, "knowledge": 2, "free_slots": 2}),
    "followup": Budget(800, {"profile": 2, "memory": 3, "history": 2, "knowledge": 1, "free_slots": 2}),
}


# ---- measuring and cutting

# Words end at white space; from U+2E80 on (Chinese, Japanese, emoji) a character may be a word of its own.
_UP_TO_LAST_BOUNDARY = re.compile("(?s).*[\\s\u2e80-\U0010ffff]")


def token_estimate(text: str) -> int:
    """Tokens of `text`, estimated as ceil(UTF-8 bytes / 4)."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)  # a lone surrogate, never shown, counts one byte


def cut(text: str, tokens: int) -> str:
    """The longest beginning of `text` within `tokens` that ends with a whole word; empty if no word fits.

    A word is never cut, however long: half of a link, a time or an amount says something else than the whole.
    """
    tokens = max(tokens, 0)
    if token_estimate(text) <= tokens:
        return text
    kept = text.encode(errors="replace")[: tokens * BYTES_PER_TOKEN].decode(errors="ignore")
    if not text[len(kept)].isspace():
        boundary = _UP_TO_LAST_BOUNDARY.match(kept)
        kept = boundary.group() if boundary else ""
    return text[: len(kept.rstrip())]


# ---- texts of the sections


@lru_cache(maxsize=4_096)  # the same slots stand in every prompt of a workspace
def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _quoted(text: str) -> str:
    """Each line behind a mark, so that a body cannot pose as the headline of another message or entry."""
    return "\n".join([f"> {line}" for line in text.splitlines()])


def _turn_text(turn: Turn) -> str:
    subject = f"\n> Subject: {' '.join(turn.subject.split())}" if turn.subject else ""
    return f"{turn.author} at {rfc3339(turn.received_at)}{subject}\n{_quoted(turn.body)}"


def _entry_text(title: str, text: str) -> str:
    return f"{' '.join(title.split())}\n{_quoted(text)}"


def conversation_text(snapshot: DraftRunSnapshot) -> str:
    """The conversation before the trigger, oldest first; where it is too long, its oldest messages are left out."""
    left, kept = BASE_TOKENS_MAX["conversation"], list[str]()
    for turn in reversed(snapshot.conversation):
        if turn.message_id == snapshot.trigger.message_id:
            continue
        text = _turn_text(turn)
        fitting = cut(text, left)
        kept.append(fitting)
        left -= token_estimate(fitting) + 1  # the blank line between two turns
        if fitting != text or left <= 0:
            break
    return "\n\n".join(filter(None, reversed(kept)))


def free_slots_text(snapshot: DraftRunSnapshot) -> str:
    return "\n".join([f"{rfc3339(slot.starts_at)}/{rfc3339(slot.ends_at)}" for slot in snapshot.free_slots])


def knowledge_text(snapshot: DraftRunSnapshot) -> str:
    """The entries that nobody verified."""
    return "\n\n".join([_entry_text(entry.title, entry.text) for entry in snapshot.knowledge if not entry.verified])


def verified_text(snapshot: DraftRunSnapshot) -> str:
    """The verified entries, best first. Depends on the snapshot's knowledge alone: no bundle may change a byte of it.

    An entry that does not fit is left out whole: half a fact ("refunds are possible") is another fact.
    """
    left, kept = BASE_TOKENS_MAX["verified"], list[str]()
    for entry in snapshot.knowledge:
        text = f"### {' '.join(entry.title.split())}\n{entry.text}"
        needed = token_estimate(text) + 1  # the blank line between two entries
        if entry.verified and needed <= left:
            kept.append(text)
            left -= needed
    return "\n\n".join(kept)


def profile_text(snapshot: DraftRunSnapshot) -> str:
    known = snapshot.profile.model_dump(exclude_none=True)
    return "\n".join([f"{name}: {' '.join(value.split())}" for name, value in known.items() if value.strip()])


def instructions_text(snapshot: DraftRunSnapshot) -> str:
    """What workspace and campaign ask for, with the lists that hard blocks will check afterwards. Never cut."""
    settings = snapshot.settings
    parts = [
        settings.instructions.strip(),
        snapshot.campaign_instructions.strip(),
        settings.language and f"Language of every reply: {settings.language}",
        _listed("Never use these phrases", settings.forbidden_phrases),
        _listed("Promise nothing but", settings.allowed_promises),
        _listed("Topics that a person must decide on", settings.always_ask_topics),
    ]
    return "\n\n".join([part for part in parts if part])


def _listed(heading: str, items: Sequence[str]) -> str:
    return "\n".join([f"{heading}:", *[f"- {item}" for item in items]]) if items else ""


def base_section(snapshot: DraftRunSnapshot, name: str) -> str:
    """The section `name` of the base context that is shown fenced; empty for a name that is none of them."""
    match name:
        case "knowledge":
            return cut(knowledge_text(snapshot), BASE_TOKENS_MAX["knowledge"])
        case "free_slots":
            return cut(free_slots_text(snapshot), BASE_TOKENS_MAX["free_slots"])
        case "conversation":
            return conversation_text(snapshot)
        case _:
            return ""


# ---- the lead context bundle


def build_pack(
    snapshot: DraftRunSnapshot,
    memory_entries: Sequence[str],
    history: Iterable[Turn],
    budgets: Mapping[str, Budget] = BUDGETS,
    profiles: Sequence[str] = PROFILES,
) -> DraftRunContextPack:
    """The bundle of a run, a list of sections per profile. Memory comes most important first, history in any order."""
    shown = {snapshot.trigger.message_id, *[turn.message_id for turn in snapshot.conversation]}
    older = sorted(
        (turn for turn in history if turn.message_id not in shown),
        key=lambda turn: (turn.received_at, turn.message_id),
        reverse=True,
    )
    texts = {
        "profile": profile_text(snapshot),
        "memory": "\n".join([" ".join(entry.split()) for entry in memory_entries if entry.strip()]),
        "history": "\n\n".join([_turn_text(turn) for turn in older]),
        "knowledge": knowledge_text(snapshot),
        "free_slots": free_slots_text(snapshot),
    }
    packed = {profile: pack_sections(texts, budgets[profile]) for profile in profiles}
    return DraftRunContextPack(
        sections={profile: [section for section in all_of if section.text] for profile, all_of in packed.items()},
        statistics=[_statistics(profile, packed[profile], budgets[profile]) for profile in profiles],
    )


def pack_sections(texts: Mapping[str, str], budget: Budget) -> list[Section]:
    """Share `budget` out: each section gets by weight what it needs, in the order of need per weight.

    So what a small section leaves goes to the larger ones, and the sum never exceeds the budget. Sections whose text
    did not fit at all are returned with an empty text, for the statistics.
    """
    # Fractions: sums of floats are not exact, and what is left at the end would not be zero.
    weights = {name: Fraction(budget.weights.get(name, 0)) for name, text in texts.items() if text}
    needs = {name: token_estimate(texts[name]) for name, weight in weights.items() if weight > 0}
    left, weight_left = budget.tokens, sum(weights.values())
    packed: dict[str, Section] = {}
    for name in sorted(needs, key=lambda name: (needs[name] / weights[name], name)):
        weight = weights[name]
        kept = cut(texts[name], int(left * weight / weight_left))
        tokens = token_estimate(kept)
        left, weight_left = left - tokens, weight_left - weight
        cut_chars = len(texts[name]) - len(kept)
        packed[name] = Section(
            name=name, weight=float(weight), text=kept, chars=len(kept), tokens=tokens, cut_chars=cut_chars
        )
    return [packed[name] for name in texts if name in packed]


def _statistics(profile: str, sections: Sequence[Section], budget: Budget) -> BundleStatistics:
    return BundleStatistics(
        profile=profile,
        sections=sum(1 for section in sections if section.text),
        chars=sum(section.chars for section in sections),
        tokens=sum(section.tokens for section in sections),
        budget_tokens=budget.tokens,
        truncated_sections=sum(1 for section in sections if section.cut_chars),
    )


def fallback_pack(reason_code: str) -> DraftRunContextPack:
    """No bundle, and why. Every stage then sees the base context only."""
    return DraftRunContextPack(fallback=reason_code)


# ---- budgets of a workspace


def resolve_budgets(stored: object) -> tuple[dict[str, Budget], tuple[str, ...]]:
    """The budgets in force for `settings.lead_context_bundle_budgets`, and the names of the values that made no sense.

    `{"draft": {"tokens": 2000, "weights": {"memory": 3}}}`; whatever is not given, or is nonsense, keeps its default.
    """
    budgets, ignored = dict(BUDGETS), list[str]()
    for profile, wanted in _items(stored, "budgets", ignored):
        if profile in BUDGETS:
            budgets[profile] = _override(profile, BUDGETS[profile], wanted, ignored)
        else:
            ignored.append(_name(profile))
    return budgets, tuple(ignored)


def _override(profile: str, budget: Budget, wanted: object, ignored: list[str]) -> Budget:
    for key, value in _items(wanted, profile, ignored):
        if key == "tokens" and type(value) is int and 0 <= value <= BUDGET_TOKENS_MAX:
            budget = replace(budget, tokens=value)
        elif key == "weights":
            given = list(_items(value, f"{profile}.weights", ignored))
            sensible = {name: float(weight) for name, weight in given if name in BUNDLE_SECTIONS and _is_weight(weight)}
            ignored += [f"{profile}.weights.{_name(name)}" for name, _ in given if name not in sensible]
            budget = replace(budget, weights={**budget.weights, **sensible})
        else:
            ignored.append(f"{profile}.{_name(key)}")
    return budget


def _items(value: object, name: str, ignored: list[str]) -> Iterable[tuple[Any, Any]]:
    """The entries of a JSON object; for anything else none, and `name` is noted."""
    if isinstance(value, dict):
        return value.items()
    ignored.append(name)
    return ()


def _is_weight(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= WEIGHT_MAX  # type: ignore[operator]


def _name(key: object) -> str:
    """A key fit to be reported: what is not a plain name is no more than a question mark."""
    return key if isinstance(key, str) and re.fullmatch("[a-z_]{1,40}", key) else "?"
