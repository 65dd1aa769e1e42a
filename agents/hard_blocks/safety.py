"""What nobody can pass: a text that is empty, endless, leaks how it was made, hides something, or was never"
" finished."""

import re
from collections.abc import Iterator, Set
from functools import cache
from typing import Final

from agents.hard_blocks.block import BlockGroup, HardBlock, Rule
from agents.prompting import FENCE_MARK, PROMPTS, is_blank
from schemas.codes import Stage
from schemas.limits import DRAFT_CHARS_MAX

# As many words in a row as in a prompt are no coincidence. Looking from every third word on finds 12 in a row for sure.
PROMPT_WORDS_MIN: Final = 10
PROMPT_WORDS_STEP: Final = 3

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
# Each pattern with a character that it needs: most texts hold none of them.
_PATTERNS: Final = (
    (Rule.FENCE_MARK, "", FENCE_MARK),
    (Rule.FENCE_MARK, "_", _OUR_NAMES),
    (Rule.CONTROL_CHARACTER, "", _HIDDEN),
    (Rule.PLACEHOLDER, "", _PLACEHOLDER),
)


def check_safety(text: str) -> list[HardBlock]:
    if is_blank(text):
        return [HardBlock(BlockGroup.SAFETY, Rule.EMPTY)]
    blocks = []
    if len(text) > DRAFT_CHARS_MAX:
        blocks.append(HardBlock(BlockGroup.SAFETY, Rule.OVER_LONG, DRAFT_CHARS_MAX, len(text)))
    for rule, needed, pattern in _PATTERNS:
        found = pattern.search(text) if needed in text else None
        if found is not None:
            blocks.append(HardBlock(BlockGroup.SAFETY, rule, *found.span()))
    repeated = _repeated_prompt(text)
    return [*blocks, HardBlock(BlockGroup.SAFETY, Rule.PROMPT_REPEATED, *repeated)] if repeated else blocks


def _runs(text: str, step: int) -> Iterator[tuple[str, int, int]]:
    """Runs of `PROMPT_WORDS_MIN` words, in lower case, with their places; one begins at every `step`th word."""
    words = list(_WORD.finditer(text))
    lowered = [word.group().lower() for word in words]
    for first in range(0, len(words) - PROMPT_WORDS_MIN + 1, step):
        last = first + PROMPT_WORDS_MIN - 1
        yield " ".join(lowered[first : last + 1]), words[first].start(), words[last].end()


@cache
def _prompt_runs() -> Set[str]:
    return frozenset(run for prompt in PROMPTS.values() for run, _, _ in _runs(prompt.system, 1))


def _repeated_prompt(text: str) -> tuple[int, int] | None:
    known = _prompt_runs()
    return next(((start, end) for run, start, end in _runs(text, PROMPT_WORDS_STEP) if run in known), None)
