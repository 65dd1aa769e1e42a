"""The lead context bundle: within its budget, accounted for to the character, the same every time."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.context import (
    BUDGETS,
    BUNDLE_SECTIONS,
    PROFILES,
    Budget,
    base_section,
    build_pack,
    cut,
    fallback_pack,
    pack_sections,
    resolve_budgets,
    token_estimate,
    verified_text,
)
from schemas.context import DraftRunContextPack, Knowledge, Profile
from tests.unit.runs import snapshot, turn

WORDS = st.text(st.sampled_from("ab \n 你é👍"), max_size=200) | st.text(max_size=200)
TEXTS = st.fixed_dictionaries(dict.fromkeys(BUNDLE_SECTIONS, WORDS))
WEIGHT = st.floats(0, 1000) | st.integers(0, 10)
BUDGET = st.builds(Budget, st.integers(0, 300), st.fixed_dictionaries(dict.fromkeys(BUNDLE_SECTIONS, WEIGHT)))
KEYS = st.sampled_from([*PROFILES, *BUNDLE_SECTIONS, "tokens", "weights", "x y"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner),
    max_leaves=8,
)


# ---- cutting


@given(WORDS, st.integers(-1, 60))
def test_a_cut_text_is_a_beginning_of_whole_words_within_its_tokens(text: str, tokens: int) -> None:
    """Never above the budget; the text as it is when it fits; never half a word."""
    kept = cut(text, tokens)
    assert text.startswith(kept)
    assert token_estimate(kept) <= max(tokens, 0)
    if token_estimate(text) <= tokens:
        assert kept == text
    elif kept:
        assert text[len(kept)].isspace() or ord(kept[-1]) >= 0x2E80


@pytest.mark.parametrize(
    ("text", "tokens", "kept"),
    [
        ("one two three", 2, "one two"),
        ("one two three", 1, "one"),
        ("https://example.com/a/b?token=1", 3, ""),
        ("2026-03-03T09:00:00Z/2026-03-03T09:30:00Z\n2026-03-04T", 12, "2026-03-03T09:00:00Z/2026-03-03T09:30:00Z"),
        ("你好你好", 2, "你好"),
        ("fits", 1, "fits"),
        ("", 0, ""),
    ],
)
def test_words_are_cut_where_they_end(text: str, tokens: int, kept: str) -> None:
    """Half of a link, a time or an amount says something else than the whole."""
    assert cut(text, tokens) == kept


@given(st.text())
def test_tokens_are_estimated_from_bytes(text: str) -> None:
    """One for each four bytes of UTF-8, rounded up."""
    assert token_estimate(text) == math.ceil(len(text.encode(errors="replace")) / 4)


# ---- budgets


@given(TEXTS, BUDGET)
def test_a_profile_never_exceeds_its_budget_and_accounts_for_every_character(
    texts: dict[str, str], budget: Budget
) -> None:
    """The sum of the tokens stays within the budget; kept and cut characters add up to the text."""
    packed = pack_sections(texts, budget)
    assert sum(section.tokens for section in packed) <= budget.tokens
    for section in packed:
        assert section.chars + section.cut_chars == len(texts[section.name])
        assert (section.chars, section.tokens) == (len(section.text), token_estimate(section.text))
        assert texts[section.name].startswith(section.text)
    assert {section.name for section in packed} == {n for n, text in texts.items() if text and budget.weights[n] > 0}


@given(TEXTS, BUDGET)
def test_nothing_is_cut_while_everything_fits(texts: dict[str, str], budget: Budget) -> None:
    """What a small section does not need goes to the large ones, so no text is cut without need."""
    needed = sum(token_estimate(text) for name, text in texts.items() if budget.weights[name] > 0)
    packed = pack_sections(texts, Budget(needed, budget.weights))
    assert all(section.cut_chars == 0 for section in packed)


def test_a_heavier_section_gets_more() -> None:
    """Shares follow the weights when all sections want more than there is."""
    long = "word " * 1_000
    packed = pack_sections({"memory": long, "history": long}, Budget(100, {"memory": 3, "history": 1}))
    shares = {section.name: section.tokens for section in packed}
    assert 70 <= shares["memory"] <= 75
    assert 20 <= shares["history"] <= 26


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_has_a_default_for_every_section(profile: str) -> None:
    """The table is complete, so that an override can name any of them."""
    assert tuple(BUDGETS[profile].weights) == BUNDLE_SECTIONS


# ---- the pack


def test_the_pack_is_the_same_every_time_and_survives_storage() -> None:
    """All stages of a run, and a replay, see the same bytes."""
    history = [turn(-n, f"old {n}") for n in range(1, 9)]
    pack = build_pack(snapshot(), ["likes tea"], history)
    assert build_pack(snapshot(), ["likes tea"], reversed(history)) == pack
    assert DraftRunContextPack.model_validate_json(pack.model_dump_json()) == pack


def test_empty_sections_are_left_out() -> None:
    """Of the statistics too; a section that did not fit at all is missing but counted as cut."""
    bare = snapshot(knowledge=[], free_slots=[], profile=Profile(name=" "))
    assert build_pack(bare, [" "], []).sections == {profile: [] for profile in PROFILES}
    pack = build_pack(bare, ["x" * 100_000], [], profiles=["draft"])
    assert pack.sections == {"draft": []}
    assert (pack.statistics[0].sections, pack.statistics[0].truncated_sections) == (0, 1)


def test_history_holds_what_the_conversation_does_not_newest_first() -> None:
    """So that the budget cuts the oldest, and nothing is shown twice."""
    run = snapshot()
    history = [turn(-3, "oldest"), turn(-1, "newest"), *run.conversation, run.trigger]
    text = {s.name: s.text for s in build_pack(run, [], history).sections["draft"]}["history"]
    assert text.index("newest") < text.index("oldest")
    assert "Hello" not in text


def test_a_failed_bundle_is_empty_and_says_why() -> None:
    """The reason is a code; no stage sees anything of it."""
    assert fallback_pack("query_failed") == DraftRunContextPack(fallback="query_failed")


# ---- the base context


def test_a_long_conversation_loses_its_oldest_messages() -> None:
    """The newest ones, and with them a whole burst, are what the reply is about."""
    long = [turn(n, f"message {n} " + "word " * 1_000) for n in range(1, 20)]
    text = base_section(snapshot(conversation=long, trigger=turn(99, "now")), "conversation")
    assert "message 19 " in text
    assert "message 1 " not in text
    assert token_estimate(text) <= 6_000


def test_the_trigger_is_not_repeated_in_the_conversation() -> None:
    """The message that is answered stands in its own block, once."""
    run = snapshot()
    repeated = snapshot(conversation=[*run.conversation, run.trigger])
    assert base_section(repeated, "conversation") == base_section(run, "conversation")


def test_a_verified_entry_is_shown_whole_or_not_at_all() -> None:
    """Half a fact is another fact."""
    entries = [Knowledge(id=1, title="A", text="x " * 20_000, verified=True), *snapshot().knowledge]
    assert verified_text(snapshot(knowledge=entries)) == "### Prices\nThe small plan is 10 EUR."


# ---- what a workspace stores


def test_a_workspace_may_override_any_budget() -> None:
    """Tokens and single weights; what is not named keeps its default."""
    budgets, ignored = resolve_budgets({"draft": {"tokens": 500, "weights": {"memory": 9}}, "overseer": {"tokens": 0}})
    assert ignored == ()
    assert budgets["draft"] == Budget(500, {**BUDGETS["draft"].weights, "memory": 9})
    assert budgets["overseer"] == Budget(0, BUDGETS["overseer"].weights)
    assert budgets["evaluator"] == BUDGETS["evaluator"]


@pytest.mark.parametrize(
    ("stored", "ignored"),
    [
        ([], ("budgets",)),
        ({"draught": {}}, ("draught",)),
        ({"Ann <a@b>": {}}, ("?",)),
        ({"draft": 5}, ("draft",)),
        ({"draft": {"tokens": True}}, ("draft.tokens",)),
        ({"draft": {"tokens": -1, "words": 1}}, ("draft.tokens", "draft.words")),
        ({"draft": {"tokens": 10**9}}, ("draft.tokens",)),
        ({"draft": {"weights": None}}, ("draft.weights",)),
        ({"draft": {"weights": {"memory": math.nan, "secrets": 1}}}, ("draft.weights.memory", "draft.weights.secrets")),
        ({"draft": {"weights": {"memory": -1, "history": "3"}}}, ("draft.weights.memory", "draft.weights.history")),
    ],
)
def test_nonsense_is_ignored_and_named(stored: Any, ignored: tuple[str, ...]) -> None:
    """The default holds and the control plane can say what was ignored; a name that is none is not repeated."""
    assert resolve_budgets(stored) == (BUDGETS, ignored)


@given(JSON, TEXTS)
def test_no_stored_value_breaks_a_budget(stored: Any, texts: dict[str, str]) -> None:
    """Whatever is stored, resolving it works and the budget it gives is kept."""
    budgets, ignored = resolve_budgets(stored)
    assert set(budgets) == set(PROFILES)
    assert all(isinstance(name, str) for name in ignored)
    for budget in budgets.values():
        assert sum(section.tokens for section in pack_sections(texts, budget)) <= budget.tokens
