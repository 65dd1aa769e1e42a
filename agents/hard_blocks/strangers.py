"""What in a draft may be another lead's data: names, e-mail addresses, phone numbers that this run's context does not
hold. Whether a lead of the workspace has them is a question for the database (`agents.strangers`).

A name is two to four words in a row that begin with capitals, or have none (`van`, `de` and the like may stand inside).
A first name alone is nobody: every Ann would block.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agents.hard_blocks.block import HardBlock, Rule
from agents.hard_blocks.language import is_little_word
from schemas.context import DraftRunContextPack, DraftRunSnapshot

NAME_WORDS_MIN: Final = 2
NAME_WORDS_MAX: Final = 4
PHONE_DIGITS_COMPARED: Final = 8  # the last ones: country code and trunk zero are written or not

_WORD: Final = re.compile(r"[^\W\d_]+(?:['’.-]+[^\W\d_]+)*")
_POSSESSIVE: Final = re.compile("['’]s$")
_GAP: Final = re.compile(r"[ \t\u00a0]{1,3}")
_PARTICLES: Final = frozenset("van von der den de del della di da dos la le bin ibn al el ter ten zu af y e".split())
_COURTESY: Final = frozenset(
    "dear hello hi kind kindest best warm regards wishes sincerely cordially thanks thank team support customer service"
    " good morning afternoon evening viele vielen freundliche freundlichen grüße grüßen gruß dank liebe lieber hallo"
    " guten tag bonjour cordialement bien merci madame monsieur hola buenos días saludo saludos cordiales"
    " gracias".split()
)
_NO_FIRST_NAME: Final = _PARTICLES | _COURTESY
_DIGITS: Final = re.compile(r"\D+")

Span = tuple[int, int]


@dataclass(frozen=True)
class Suspects:
    """By the form in which the database compares them (lower case, last digits), with their places in the text."""

    names: Mapping[str, Span] = field(default_factory=dict)
    emails: Mapping[str, Span] = field(default_factory=dict)
    phones: Mapping[str, Span] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.names or self.emails or self.phones)


def suspects(text: str, blocks: Sequence[HardBlock], snapshot: DraftRunSnapshot, pack: DraftRunContextPack) -> Suspects:
    """`blocks` are those of the same text: addresses and numbers that the context holds are not among them."""
    emails, phones = dict[str, Span](), dict[str, Span]()
    for block in blocks:
        written = text[block.start : block.end]
        if block.rule == Rule.EMAIL:
            emails.setdefault(written.lower().removeprefix("mailto:"), block.span)
        elif block.rule in (Rule.PHONE, Rule.IDENTIFIER):
            digits = _DIGITS.sub("", written)
            if len(digits) >= PHONE_DIGITS_COMPARED:
                phones.setdefault(digits[-PHONE_DIGITS_COMPARED:], block.span)
    names = dict(_names(text))
    if names:
        shown = shown_text(snapshot, pack)
        names = {name: span for name, span in names.items() if name not in shown}
    return Suspects(names, emails, phones)


def shown_text(snapshot: DraftRunSnapshot, pack: DraftRunContextPack) -> str:
    """Everything that a run was given to read, in lower case, blanks made one."""
    settings, profile = snapshot.settings, snapshot.profile
    turns = (snapshot.trigger, *snapshot.conversation)
    texts = [
        *(part for turn in turns for part in (turn.subject, turn.body)),
        *(part for entry in snapshot.knowledge for part in (entry.title, entry.text)),
        *(section.text for sections in pack.sections.values() for section in sections),
        *(snapshot.workspace_name, settings.instructions, snapshot.campaign_instructions, profile.name, profile.email),
        *(str(channel.get("from", "")) for channel in settings.channels.values()),
    ]
    return " ".join(" ".join(part for part in texts if part).lower().split())


def _names(text: str) -> Iterator[tuple[str, Span]]:
    for run in _runs(text):
        for first in range(len(run)):
            for last in range(first + NAME_WORDS_MIN, min(first + NAME_WORDS_MAX, len(run)) + 1):
                words = [text[start:end].lower() for start, end in run[first:last]]
                words[-1] = _POSSESSIVE.sub("", words[-1])
                if not (words[-1] in _PARTICLES or words[0] in _NO_FIRST_NAME or all(map(_says_nothing, words))):
                    yield " ".join(words), (run[first][0], run[last - 1][1])


def _says_nothing(word: str) -> bool:
    return word in _COURTESY or is_little_word(word)


def _runs(text: str) -> Iterator[list[Span]]:
    """Words in a row that a name could consist of."""
    run: list[Span] = []
    for word in _WORD.finditer(text):
        begins, written = word.span(), word.group()
        named = not written[0].islower() or (bool(run) and written.lower() in _PARTICLES)
        if run and not (named and _GAP.fullmatch(text, run[-1][1], word.start())):
            yield run
            run = []
            named = not written[0].islower()
        if named:
            run.append(begins)
    if run:
        yield run
