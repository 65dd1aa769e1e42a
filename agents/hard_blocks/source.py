"""A text prepared for reading, and what a reader finds in it. Everything keeps its place: spans stay true to the
original."""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from agents.hard_blocks.block import Rule

# Look-alikes of the characters that numbers, times and links are made of. One character for one.
_ALIKE: Final = str.maketrans(
    {
        **{chr(0xFF01 + i): chr(0x21 + i) for i in range(0x5E)},  # full-width forms
        **{chr(zero + i): str(i) for zero in (0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0x1D7CE) for i in range(10)},
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys(
            "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
        ),
        **dict.fromkeys("\u2018\u2019\u02bc\u0060\u00b4", "'"),
        "\u2024": ".",
        "\u2044": "/",
        "\u2215": "/",
        "\u2236": ":",
        "\ufe6a": "%",
        "\u066a": "%",
    }
)
_NEEDS_PLAIN: Final = re.compile("[" + "".join(map(chr, sorted(_ALIKE))) + "]")


class Claim(NamedTuple):
    """Something a text states as a fact. `key` is what it says, in a form that does not depend on how it is written.

    `days` are the calendar days it may mean as (year or 0, month, day), `minute` is the minute of the day, `zone` what
    the text says about its time zone, `weekday` and `relative` (days from today) what it says about the day.
    """

    rule: Rule
    start: int
    end: int
    key: str = ""
    days: tuple[tuple[int, int, int], ...] = ()
    weekday: int | None = None
    relative: int | None = None
    minute: int = -1
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """`text` with look-alikes made plain, and the same in lower case; both as long as the original."""

    text: str
    lower: str

    @staticmethod
    def of(original: str) -> "Source":
        text = original
        if not text.isascii() and _NEEDS_PLAIN.search(text):
            text = text.translate(_ALIKE)
        lower = text.lower()
        if len(lower) != len(text):  # a few letters grow, such as the dotted capital I
            lower = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)
        return Source(text, lower)

    def before(self, position: int, chars: int) -> str:
        """The `chars` characters before `position`, in lower case."""
        return self.lower[max(0, position - chars) : position]


def blanked(text: str, claims: list[Claim]) -> str:
    """`text` with the places of the claims (in order) filled by a character that means nothing to any reader."""
    pieces, position = [], 0
    for claim in claims:
        pieces += [text[position : claim.start], "\0" * (claim.end - claim.start)]
        position = claim.end
    return "".join([*pieces, text[position:]])
