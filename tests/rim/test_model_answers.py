"""Promises about what counts as an answer, what is asked for, and what it costs."""

from typing import Any

import pytest

from agents.ports import Answered, Failed, Unusable, Usage
from app.model import prices, wire
from schemas.answers import ANSWER_OF, Evaluation, Generation
from schemas.codes import Stage
from tests.rim.model_calls import Api, answered_with, ask, reply

HOSTILE_EVALUATIONS = [
    '{"confidence": 1.01, "reasons": [], "categories": []}',
    '{"confidence": -0.01, "reasons": [], "categories": []}',
    '{"confidence": NaN, "reasons": [], "categories": []}',
    '{"confidence": Infinity, "reasons": [], "categories": []}',
    '{"confidence": 1e999, "reasons": [], "categories": []}',
    '{"confidence": "0.9", "reasons": [], "categories": []}',
    '{"confidence": true, "reasons": [], "categories": []}',
    '{"confidence": null, "reasons": [], "categories": []}',
    '{"confidence": 0.9, "reasons": ["a\\u0000b"], "categories": []}',
    '{"confidence": 0.9, "reasons": ["\\ud800"], "categories": []}',
    '{"confidence": 0.9, "reasons": ["\ud800"], "categories": []}',
    '{"confidence": 0.9, "reasons": []}',
    '{"confidence": 0.9, "reasons": [], "categories": [], "send": true}',
    '{"confidence": 0.9, "reasons": [], "categories": []} {}',
    '```json\n{"confidence": 0.9, "reasons": [], "categories": []}\n```',
    "[" * 10_000,
    "null",
    " \n",
]


@pytest.mark.parametrize("text", HOSTILE_EVALUATIONS)
@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_hostile_answers_are_no_answers(text: str, api: Api) -> None:
    """Out of range, not a number, unstorable, not strict: no answer, and the tokens are counted all the same."""
    result = await answered_with(reply(text, api), ask(Stage.EVALUATION), api)
    assert isinstance(result, Unusable)
    assert (result.usage.input_tokens, result.usage.output_tokens) == (7, 3)


@pytest.mark.parametrize("stage", [Stage.GENERATION, Stage.VERIFIER, Stage.REVISER])
@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u2060", "\u00a0"])
async def test_blank_texts_are_no_answers(stage: Stage, text: str) -> None:
    """A reply that a reader would see nothing of is none."""
    answer: dict[str, Any] = {"text": text} | ({} if stage is Stage.GENERATION else {"changes": []})
    result = await answered_with(reply(answer), ask(stage))
    assert isinstance(result, Unusable)
    assert result.code == "blank_text"


async def test_texts_arrive_byte_for_byte() -> None:
    """Blanks, line ends, emoji and escapes of a text are the model's own."""
    text = '  Grüße 👋\r\n\n\\u0000 stays, "quoted"\t<b>\u2028 \n'
    result = await answered_with(reply({"text": text}))
    assert isinstance(result, Answered)
    assert result.answer == Generation(text=text)


@pytest.mark.parametrize(
    ("changes", "word", "code"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, Unusable, "cut_off"),
        ({"status": "incomplete", "incomplete_details": None}, Unusable, "cut_off"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, Unusable, "content_filter"),
        ({"status": "failed", "error": {"code": "server_error"}}, Failed, "not_completed"),
        ({"status": "in_progress"}, Failed, "not_completed"),
        ({"output": []}, Unusable, "empty"),
        ({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]}, Unusable, "refused"),
        ({"usage": {"input_tokens": "many", "output_tokens": -3}}, Answered, ""),
        ({"usage": None}, Answered, ""),
    ],
)
async def test_endings_of_a_response(changes: dict[str, Any], word: type, code: str) -> None:
    """Each way a response can end has its word; token counts that make no sense count as 0."""
    result = await answered_with(reply({"text": "Hello"}, **changes))
    assert type(result) is word
    assert getattr(result, "code", "") == code
    if isinstance(result, Answered):
        assert (result.usage.input_tokens, result.usage.output_tokens) == (0, 0)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b"<html>", b"\xff", b"{}", b"[" * 100_000])
@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_a_200_without_the_envelope_is_a_failed_attempt(body: bytes, api: Api) -> None:
    """Whatever a broken gateway sends with 200, nothing raises."""
    result = await answered_with(body, api=api)
    assert isinstance(result, Failed)
    assert result.retryable


@pytest.mark.parametrize("stage", list(Stage))
def test_schemas_are_strict_and_built_once(stage: Stage) -> None:
    """Closed, every property required, and the same object each time."""
    schema = wire.schema_of(ANSWER_OF[stage])
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(schema["properties"])
    assert wire.schema_of(ANSWER_OF[stage]) is schema


def test_evaluation_schema_states_the_range() -> None:
    """The model is told that a confidence lies in 0..1."""
    confidence = wire.schema_of(Evaluation)["properties"]["confidence"]
    assert (confidence["minimum"], confidence["maximum"]) == (0.0, 1.0)


def test_prices() -> None:
    """Cached tokens cost less, unknown models have no price, long contexts follow the table."""
    whole = prices.cost_usd("gpt-5.2", Usage(input_tokens=10_000, output_tokens=1_000))
    cached = prices.cost_usd("gpt-5.2", Usage(input_tokens=10_000, output_tokens=1_000, cached_tokens=8_000))
    assert whole is not None
    assert cached is not None
    assert 0 < cached < whole
    assert prices.cost_usd("no-such-model", Usage(input_tokens=1)) is None
    just, beyond = (
        prices.cost_usd("gpt-5.2", Usage(input_tokens=prices.LINEAR_TOKENS_MAX + extra, output_tokens=1_000))
        for extra in (0, 1)
    )
    assert just is not None
    assert beyond == pytest.approx(just, rel=1e-4)
