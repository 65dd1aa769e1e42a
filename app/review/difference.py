"""The difference between two texts by words, and the places of a text that a rule objects to. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, pairwise
from typing import Any, Final

_AROUND_CHARS: Final = 60
_TOKEN: Final = re.compile(r"\w+|\s+|[^\w\s]")


class Kind(StrEnum):
    SAME = "same"
    GONE = "gone"
    NEW = "new"


@dataclass(frozen=True)
class Piece:
    kind: Kind
    text: str


@dataclass(frozen=True)
class Marked:
    """A piece of a text; `rules` object to it."""

    text: str
    rules: tuple[str, ...] = ()


def difference(before: str, after: str) -> list[Piece]:
    """What stayed, went and came, by words, in order: SAME and GONE make `before`, SAME and NEW make `after`."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    return _joined(_without_crumbs(_joined(_aligned(old, new))))


def _aligned(old: Sequence[str], new: Sequence[str]) -> list[Piece]:
    """Along a longest common subsequence, found with whole numbers as bit vectors (Hyyrö, 2004): time and memory are
    bounded by the lengths, whatever the words. Bit i of a row is 0 where the i-th old word makes it longer."""
    places: dict[str, int] = {}
    for position, token in enumerate(old):
        places[token] = places.get(token, 0) | 1 << position
    every = (1 << len(old)) - 1
    rows, row = [], every
    for token in new:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & every
        rows.append(row)
    return _walked_back(old, new, rows)


def _walked_back(old: Sequence[str], new: Sequence[str], rows: Sequence[int]) -> list[Piece]:
    """From the end of both texts to their beginning. What went stands before what came in its place."""
    pieces: list[Piece] = []
    left, right = len(old), len(new)
    while left and right:
        if rows[right - 1] >> (left - 1) & 1:
            left -= 1
            pieces.append(Piece(Kind.GONE, old[left]))
            continue
        right -= 1
        if right and not rows[right - 1] >> (left - 1) & 1:
            pieces.append(Piece(Kind.NEW, new[right]))
        else:
            left -= 1
            pieces.append(Piece(Kind.SAME, new[right]))
    pieces += [Piece(Kind.GONE, token) for token in reversed(old[:left])]
    pieces += [Piece(Kind.NEW, token) for token in reversed(new[:right])]
    return pieces[::-1]


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Between two pieces that stayed there is at most one that went, then at most one that came."""
    joined: list[Piece] = []
    for stayed, run in groupby(pieces, key=lambda piece: piece.kind is Kind.SAME):
        same_run = list(run)
        for kind in (Kind.SAME,) if stayed else (Kind.GONE, Kind.NEW):
            text = "".join(piece.text for piece in same_run if piece.kind is kind)
            if text:
                joined.append(Piece(kind, text))
    return joined


def _without_crumbs(pieces: Sequence[Piece]) -> Iterable[Piece]:
    """A blank or a comma that stayed between two changes is part of the change: nobody can read confetti."""
    for place, piece in enumerate(pieces):
        inside = 0 < place < len(pieces) - 1
        if inside and piece.kind is Kind.SAME and not re.search(r"\w|\n", piece.text):
            yield Piece(Kind.GONE, piece.text)
            yield Piece(Kind.NEW, piece.text)
        else:
            yield piece


def shortened(pieces: Iterable[Piece], chars_max: int) -> list[Piece]:
    """The same with long stretches that stayed left out, and cut where `chars_max` characters are reached."""
    left, short = chars_max, []
    for piece in pieces:
        text = piece.text
        if piece.kind is Kind.SAME and len(text) > 2 * _AROUND_CHARS:
            text = f"{text[:_AROUND_CHARS]} … {text[-_AROUND_CHARS:]}"
        short.append(Piece(piece.kind, text[:left] + (" …" if len(text) > left else "")))
        left -= len(text)
        if left <= 0:
            break
    return short


def marked(text: str, blocks: Iterable[dict[str, Any]]) -> list[Marked]:
    """`text` in pieces, cut where a block's span begins or ends. Blocks are as `ai_draft.hard_blocks` keeps them."""
    spans = [
        (max(each["start"], 0), min(each["end"], len(text)), str(each["rule"]))
        for each in blocks
        if 0 <= each["start"] < each["end"] and each["start"] < len(text)
    ]
    cuts = sorted({0, len(text), *(start for start, _, _ in spans), *(end for _, end, _ in spans)})
    return [
        Marked(text[begin:end], tuple(dict.fromkeys(rule for start, stop, rule in spans if start <= begin < stop)))
        for begin, end in pairwise(cuts)
    ]
