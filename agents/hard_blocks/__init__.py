"""Hard blocks: deterministic rules that forbid sending, checked on the exact text on every path that can send. Pure."""

from collections.abc import Collection, Sequence

from agents.hard_blocks.block import NO_SPAN, BlockGroup, HardBlock, Rule
from agents.hard_blocks.claims import check_claims
from agents.hard_blocks.context_claims import ContextClaims
from agents.hard_blocks.meetings import speaks_of_meeting
from agents.hard_blocks.promises import check_promises
from agents.hard_blocks.safety import check_repeated, check_safety
from agents.hard_blocks.topics import check_topics
from schemas.context import DraftRunContextPack, DraftRunSnapshot

__all__ = [
    "NO_SPAN",
    "BlockGroup",
    "ContextClaims",
    "HardBlock",
    "Rule",
    "already_booked",
    "check_text",
    "codes",
    "may_pass",
    "pack_texts",
]

# Sections of the bundle that repeat the snapshot, or hold what nobody verified.
_NO_SUPPORT = frozenset({"knowledge", "free_slots"})


def check_text(
    text: str,
    snapshot: DraftRunSnapshot,
    pack_texts: Sequence[str] = (),
    *,
    context: ContextClaims | None = None,
    language: str | None = None,
    scheduling: bool = False,
) -> tuple[HardBlock, ...]:
    """Every block of `text`: safety, claims, policy; in each group in the order of the text.

    `context` is `ContextClaims.from_snapshot(snapshot, pack_texts)`, built once per run; without it, it is built here.
    `language` (BCP 47) and `scheduling` are what the strategy of the run says; it may lie, so that a text which
    speaks of a meeting is held to the free slots in any case, and the language the lead surely wrote goes first.
    """
    safety = check_safety(text)
    if any(block.rule in (Rule.EMPTY, Rule.OVER_LONG) for block in safety):
        return tuple(safety)
    context = context or ContextClaims.from_snapshot(snapshot, pack_texts)
    claims = [
        *check_claims(text, context, scheduling=scheduling or speaks_of_meeting(text)),
        *check_repeated(text, (snapshot.settings.instructions, snapshot.campaign_instructions)),
        *check_promises(text, snapshot.settings.allowed_promises),
    ]
    policy = check_topics(text, snapshot, language)
    return (*safety, *sorted(claims, key=lambda block: block.span), *policy)


def already_booked(taken: bool) -> tuple[HardBlock, ...]:
    """The state block of a text that agrees to a meeting time which another run has (`taken`)."""
    return (HardBlock(BlockGroup.STATE, Rule.ALREADY_BOOKED),) if taken else ()


def pack_texts(pack: DraftRunContextPack) -> tuple[str, ...]:
    """The texts of a lead context bundle that support claims, each once."""
    sections = (section for packed in pack.sections.values() for section in packed)
    return tuple(dict.fromkeys(section.text for section in sections if section.name not in _NO_SUPPORT))


def may_pass(block: HardBlock, *, automatic: bool, shown_spans: Collection[tuple[int, int]] = ()) -> bool:
    """Whether a text with this block may be sent all the same, by itself (`automatic`) or by a reviewer.

    `shown_spans` are the spans that the reviewer saw marked in exactly this text.
    """
    match block.group:
        case BlockGroup.STATE | BlockGroup.SAFETY:
            return False
        case BlockGroup.CLAIMS:
            return not automatic and block.span in shown_spans
        case BlockGroup.POLICY:
            return not automatic


def codes(blocks: Sequence[HardBlock]) -> list[str]:
    """The rules of `blocks`, each once, as events carry them: no text, no spans."""
    return list(dict.fromkeys(str(block.rule) for block in blocks))
