"""All claims of a text: what could be wrong about it that a program can check."""

import re
from collections.abc import Callable
from typing import Final

from agents.hard_blocks.block import Rule
from agents.hard_blocks.moments import day_words, read_date, read_time
from agents.hard_blocks.numbers import NUMBER, amounts_in_words, read_amount
from agents.hard_blocks.source import Claim, Source, blanked
from agents.hard_blocks.strings import disguised_links, links_and_emails, read_identifier, read_phone

_DIGITS: Final = re.compile(r"\d+")
# The first reader that knows a number has it.
_READERS: Final[tuple[Callable[[Source, int], Claim | None], ...]] = (
    read_date,
    read_time,
    read_amount,
    read_phone,
    read_identifier,
)
# Read, so that nobody else reads them, but claiming nothing: "100 % sure", "1.000.000 times".
_KEYED: Final = frozenset({Rule.AMOUNT, Rule.PERCENTAGE, Rule.PHONE})


def read_claims(text: str) -> tuple[Source, list[Claim]]:
    """The claims of `text`, in order, not overlapping, and the text without its links and e-mail addresses, whose
    digits are theirs. Linear in the length of `text`."""
    source = Source.of(text)
    claims = links_and_emails(source)
    if claims:
        source = Source.of(blanked(source.text, claims))
    done = 0
    for digits in _DIGITS.finditer(source.lower):
        if digits.start() < done:
            continue
        claim = next((claim for read in _READERS if (claim := read(source, digits.start()))), None)
        if claim is None:
            number = NUMBER.match(source.lower, digits.start())
            done = number.end() if number else digits.end()
            continue
        done = claim.end
        claims.append(claim)
    claims += disguised_links(source)
    claims += day_words(source)
    claims += amounts_in_words(source)
    claims = [claim for claim in claims if claim.key or claim.rule not in _KEYED]
    return source, _without_overlaps(sorted(claims, key=lambda claim: (claim.start, -claim.end)))


def _without_overlaps(claims: list[Claim]) -> list[Claim]:
    kept: list[Claim] = []
    for claim in claims:
        if not kept or claim.start >= kept[-1].end:
            kept.append(claim)
    return kept
