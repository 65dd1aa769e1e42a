"""What nobody can pass: a text that is empty, endless, leaks how it was made, hides something, or was never"
" finished."""

import re
from collections.abc import Set
from functools import cache
from typing import Final

from agents.hard_blocks.block import BlockGroup, HardBlock, Rule
from agents.prompting import PROMPTS, is_blank
from schemas.codes import Stage
from schemas.limits import DRAFT_CHARS_MAX

# As many words in a row as in a prompt are no coincidence.
PROMPT_WORDS_MIN: Final = 10

_WORD: Final = re.compile(r"\w+")
_FENCE: Final = re.compile(
    r"</?\s*untrusted\b|\b(?:verified_context_instructions|trigger_message|" + "|".join(Stage) + r")\b", re.IGNORECASE
)
# Controls, direction changes and zero-width characters. Joiners are left to emoji and scripts that need them.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff\ud800-\udfff]|(?<=[!-~])[\u200c\u200d]|[\u200c\u200d](?=[!-~])"
)
_PLACEHOLDER: Final = re.compile(
    r"\{\{[^{}\n]{0,80}\}\}|\$\{[^{}\n]{1,80}\}|\[(?:your|insert|enter|add|name|first name|last name|company|date"
    r"|time|link|phone"
    r"|customer|recipient|amount|ihr|dein|name einfügen|votre|nom|su nombre|tu nombre|nombre|nome|uw naam|naam"
    r"|imię)\b[^\]\n]{0,60}\]"
    r"|<(?:insert|your|name|first name|company|date|link)\b[^>\n]{0,60}>|\blorem ipsum\b",
    re.IGNORECASE,
)


def check_safety(text: str) -> list[HardBlock]:
    if is_blank(text):
        return [HardBlock(BlockGroup.SAFETY, Rule.EMPTY)]
    blocks = []
    if len(text) > DRAFT_CHARS_MAX:
        blocks.append(HardBlock(BlockGroup.SAFETY, Rule.OVER_LONG, DRAFT_CHARS_MAX, len(text)))
    for rule, pattern in (
        (Rule.FENCE_MARK, _FENCE),
        (Rule.CONTROL_CHARACTER, _HIDDEN),
        (Rule.PLACEHOLDER, _PLACEHOLDER),
    ):
        found = pattern.search(text)
        if found is not None:
            blocks.append(HardBlock(BlockGroup.SAFETY, rule, *found.span()))
    repeated = _repeated_prompt(text)
    return [*blocks, HardBlock(BlockGroup.SAFETY, Rule.PROMPT_REPEATED, *repeated)] if repeated else blocks


def _runs(text: str) -> list[tuple[str, int, int]]:
    """Every run of `PROMPT_WORDS_MIN` words, in lower case, with its place."""
    words = list(_WORD.finditer(text))
    last = len(words) - PROMPT_WORDS_MIN + 1
    lowered = [word.group().lower() for word in words]
    return [
        (" ".join(lowered[i : i + PROMPT_WORDS_MIN]), words[i].start(), words[i + PROMPT_WORDS_MIN - 1].end())
        for i in range(max(last, 0))
    ]


@cache
def _prompt_runs() -> Set[str]:
    return frozenset(run for prompt in PROMPTS.values() for run, _, _ in _runs(prompt.system))


def _repeated_prompt(text: str) -> tuple[int, int] | None:
    known = _prompt_runs()
    return next(((start, end) for run, start, end in _runs(text) if run in known), None)
