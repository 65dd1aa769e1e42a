"""What nobody can pass: a text that is empty, endless, leaks how it was made, hides something, or was never
finished."""

import re
from collections.abc import Iterator, Sequence, Set
from functools import cache, lru_cache
from typing import Final

from agents.hard_blocks.block import BlockGroup, HardBlock, Rule
from agents.prompting import FENCE_MARK, PROMPTS, is_blank
from schemas.codes import Stage
from schemas.limits import DRAFT_CHARS_MAX

# As many words in a row as in a prompt are no coincidence. Looking from every third word on finds 12 in a row for sure.
PROMPT_WORDS_MIN: Final = 10
PROMPT_WORDS_STEP: Final = 3
INSTRUCTIONS_CACHED_MAX: Final = 256

_WORD: Final = re.compile(r"\w+")
_OUR_NAMES: Final = re.compile(rf"\b(?:verified_context_instructions|trigger_message|{'|'.join(Stage)})\b")
# Controls, direction changes and zero-width characters. Joiners are left to emoji and scripts that need them.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff\ud800-\udfff]|(?<=[!-~])[\u200c\u200d]|[\u200c\u200d](?=[!-~])"
)
_PLACEHOLDER: Final = re.compile(
    r"[\[{<](?:(?<=\{)\{[^{}\n]{0,80}\}\}|(?<=\$\{)[^{}\n]{1,80}\}|(?:your|insert|enter|add|name|first name"
    r"|last name|company"
    r"|date|time|link|phone|customer|recipient|amount|ihr|dein|name einfügen|votre|nom|su nombre|tu nombre|nombre|nome"
    r"|uw naam|naam|imię)\b[^\]>\n]{0,60}[\]>])",
    re.IGNORECASE,
)
# Replies are plain text: a tag, an embedded picture or a script address has no business in one.
_MARKUP: Final = re.compile(
    r"<[/!]?(?:a|b|i|p|br|hr|u|s|em|strong|div|span|img|script|style|svg|iframe|object|embed|form|input|button|link"
    r"|meta|base|html|body|head|table|tr|td|font|center|marquee|video|audio|source|math|template"
    r"|details)(?![\w@])[^<>]*/?>?|<!--|!\[[^\]\n]{0,200}\]\s?\(|\b(?:javascript|vbscript|data):(?=[^\s])",
    re.IGNORECASE,
)
# What only somebody would write who speaks to a model, or a model about itself.
_MODEL_TALK: Final = re.compile(
    r"\b(?:(?:ignore|disregard|forget|override) (?:all |any |the |your |these |those )*(?:previous|prior|earlier"
    r"|above|preceding|former|system|other)? ?(?:instructions?|rules|prompts?|directions|guidelines)|system prompt"
    r"|my instructions|as an? (?:ai|artificial intelligence|large)(?: language)? model|as an ai\b|i am an? (?:ai"
    r"|language) model|prompt injection|jailbreak\w*|developer mode|(?:ignorier\w*|vergiss) (?:alle |die "
    r"|deine )*(?:vorherigen |bisherigen )?(?:anweisungen|regeln)|als (?:ki|sprachmodell)\b"
    r"|ignore[rz]? (?:toutes )?les (?:instructions|consignes)|en tant qu'ia\b|ignora (?:todas )?las instrucciones"
    r"|como modelo de lenguaje)",
    re.IGNORECASE,
)
# Each pattern with a character that it needs: most texts hold none of them.
_PATTERNS: Final = (
    (Rule.FENCE_MARK, "", FENCE_MARK),
    (Rule.FENCE_MARK, "_", _OUR_NAMES),
    (Rule.CONTROL_CHARACTER, "", _HIDDEN),
    (Rule.PLACEHOLDER, "", _PLACEHOLDER),
    (Rule.MARKUP, "<", _MARKUP),
    (Rule.MARKUP, "](", _MARKUP),
    (Rule.MARKUP, "script:", _MARKUP),
    (Rule.MARKUP, "data:", _MARKUP),
    (Rule.MODEL_TALK, "", _MODEL_TALK),
)


def check_safety(text: str) -> list[HardBlock]:
    if is_blank(text):
        return [HardBlock(BlockGroup.SAFETY, Rule.EMPTY)]
    blocks: list[HardBlock] = []
    if len(text) > DRAFT_CHARS_MAX:
        blocks.append(HardBlock(BlockGroup.SAFETY, Rule.OVER_LONG, DRAFT_CHARS_MAX, len(text)))
    for rule, needed, pattern in _PATTERNS:
        found = pattern.search(text) if needed in text else None
        block = HardBlock(BlockGroup.SAFETY, rule, *found.span()) if found is not None else None
        if block is not None and block not in blocks:
            blocks.append(block)
    repeated = _repeated_prompt(text)
    return [*blocks, HardBlock(BlockGroup.SAFETY, Rule.PROMPT_REPEATED, *repeated)] if repeated else blocks


def _runs(text: str, step: int) -> Iterator[tuple[str, int, int]]:
    """Runs of `PROMPT_WORDS_MIN` words, in lower case, with their places; one begins at every `step`th word."""
    words = list(_WORD.finditer(text))
    lowered = [word.group().lower() for word in words]
    for first in range(0, len(words) - PROMPT_WORDS_MIN + 1, step):
        last = first + PROMPT_WORDS_MIN - 1
        yield " ".join(lowered[first : last + 1]), words[first].start(), words[last].end()


def check_repeated(text: str, internal: Sequence[str]) -> list[HardBlock]:
    """A block when `text` repeats the workspace's instructions, which were written for the writer alone. A person who
    sees the place may send it: some instructions are meant to be said."""
    known = frozenset[str]().union(*[_runs_of(written) for written in internal if written])
    if not known:
        return []
    found = next(((start, end) for run, start, end in _runs(text, PROMPT_WORDS_STEP) if run in known), None)
    return [HardBlock(BlockGroup.CLAIMS, Rule.INSTRUCTIONS, *found)] if found is not None else []


@lru_cache(maxsize=INSTRUCTIONS_CACHED_MAX)
def _runs_of(written: str) -> frozenset[str]:
    return frozenset(run for run, _, _ in _runs(written, 1))


@cache
def _prompt_runs() -> Set[str]:
    parts = (part for prompt in PROMPTS.values() for part in (prompt.system, *prompt.literals))
    return frozenset(run for part in parts for run, _, _ in _runs(part, 1))


def _repeated_prompt(text: str) -> tuple[int, int] | None:
    known = _prompt_runs()
    return next(((start, end) for run, start, end in _runs(text, PROMPT_WORDS_STEP) if run in known), None)
