"""What people are shown of texts: distances, differences, marks, words for codes."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.edit_distance import edit_distance
from agents.hard_blocks import Rule
from agents.policy import Reason
from app.review.difference import Kind, Piece, difference, marked, shortened
from app.review.words import RULES, WORDS, in_words, places, refusal_in_words
from schemas.codes import DraftStatus
from schemas.limits import DRAFT_CHARS_MAX

WORDS_OF_REPLIES = st.lists(
    st.sampled_from(["Hello", " ", "world", ",", "\n", "we", "ship", "ship", "on", "Monday", "é", "🏳️", "."]),
    max_size=40,
).map("".join)
ANY = st.one_of(st.text(max_size=40), WORDS_OF_REPLIES)


def by_definition(before: str, after: str) -> int:
    """Wagner and Fischer, 1974."""
    previous = list(range(len(after) + 1))
    for row, left in enumerate(before, 1):
        current = [row]
        for column, right in enumerate(after, 1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (left != right)))
        previous = current
    return previous[-1]


@given(ANY, ANY)
def test_the_edit_distance_is_the_one_of_the_definition(before: str, after: str) -> None:
    """The fast form counts what the table would count."""
    assert edit_distance(before, after) == by_definition(before, after)


HOSTILE = {
    "nothing in common": ("ab" * (DRAFT_CHARS_MAX // 2), "cd" * (DRAFT_CHARS_MAX // 2)),
    "one letter": ("a" * DRAFT_CHARS_MAX, "b" + "a" * (DRAFT_CHARS_MAX - 2) + "b"),
    "words that repeat": ("a b " * (DRAFT_CHARS_MAX // 4), "b a c " * (DRAFT_CHARS_MAX // 6)),
    "all different": (
        "".join(map(chr, range(0x4E00, 0x4E00 + DRAFT_CHARS_MAX))),
        "".join(map(chr, range(0x6000, 0x6000 + DRAFT_CHARS_MAX))),
    ),
    "single marks": ("!" * DRAFT_CHARS_MAX, "?!" * (DRAFT_CHARS_MAX // 2)),
}


@pytest.mark.parametrize("texts", HOSTILE.values(), ids=HOSTILE)
def test_the_longest_drafts_are_compared_within_a_second(texts: tuple[str, str]) -> None:
    """Distance and difference of two texts of the greatest length hold nobody up, whatever is in them."""
    began = time.process_time()
    assert 0 < edit_distance(*texts) <= DRAFT_CHARS_MAX
    assert difference(*texts)
    assert time.process_time() - began < 1.0


def put_together(pieces: list[Piece], *kinds: Kind) -> str:
    return "".join(piece.text for piece in pieces if piece.kind in kinds)


@given(ANY, ANY)
def test_a_difference_holds_both_texts(before: str, after: str) -> None:
    """What stayed and went is the old text, what stayed and came is the new one, character for character."""
    pieces = difference(before, after)
    assert put_together(pieces, Kind.SAME, Kind.GONE) == before
    assert put_together(pieces, Kind.SAME, Kind.NEW) == after
    assert all(piece.text for piece in pieces)
    assert all(one.kind is not other.kind for one, other in pairwise(pieces))


def test_a_difference_is_told_in_whole_words() -> None:
    """Changed words, not changed letters; two neighbouring changes are one."""
    pieces = difference("We ship on Monday, 3 May.", "We ship on next Tuesday, 4 May.")
    assert [(piece.kind.value, piece.text) for piece in pieces] == [
        ("same", "We ship on "), ("gone", "Monday, 3"), ("new", "next Tuesday, 4"), ("same", " May."),
    ]  # fmt: skip


@given(ANY, ANY, st.integers(min_value=1, max_value=60))
def test_a_shortened_difference_stays_short(before: str, after: str, chars_max: int) -> None:
    """Whatever differs, what is shown is bounded."""
    short = shortened(difference(before, after), chars_max)
    assert sum(len(piece.text) for piece in short) <= chars_max + 2


spans = st.lists(
    st.fixed_dictionaries(
        {"rule": st.sampled_from(["a", "b"]), "start": st.integers(-2, 50), "end": st.integers(-2, 50)}
    ),
    max_size=6,
)


@given(st.text(max_size=40), spans)
def test_marks_lose_nothing_and_cover_the_spans(text: str, blocks: list[dict[str, Any]]) -> None:
    """The pieces are the text; each character of a span carries its rule, overlapping or not."""
    pieces = marked(text, blocks)
    assert "".join(piece.text for piece in pieces) == text
    rules = [rules for piece in pieces for rules in [piece.rules] * len(piece.text)]
    for place in range(len(text)):
        wanted = {each["rule"] for each in blocks if 0 <= each["start"] <= place < each["end"]}
        assert set(rules[place]) == wanted


def test_every_code_that_a_reviewer_meets_has_words() -> None:
    """Reasons of decisions, rules and refusals are sentences; an unknown code is shown as it is."""
    assert {reason.value for reason in Reason} - set(WORDS) <= {
        "superseded", "already_answered", "lead_suppressed", "mode_off", "legacy_auto_reply", "confident",
    }  # fmt: skip
    assert set(RULES) == {rule.value for rule in Rule}
    for status in DraftStatus:
        assert refusal_in_words(f"refused_draft_{status}") != f"reason: draft_{status}"
    assert in_words("draft_generation_step2_failed") == "A step failed: draft_generation_step2_failed."
    assert in_words("new_code") == "Reason: new_code."


def test_places_quote_the_text_they_object_to() -> None:
    """Rule in words, then the words of the text; a block without a place has its sentence only."""
    text = "It costs €500."
    blocks = [
        {"rule": "amount_not_in_context", "start": 9, "end": 13},
        {"rule": "wrong_language", "start": -1, "end": -1},
    ]
    assert places(text, blocks) == ["An amount that is in no source. “€500”", "It is not in the language of the lead."]
