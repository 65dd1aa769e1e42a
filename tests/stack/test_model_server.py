"""Promises of the scripted model."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, DefaultAioHttpClient

from app.stack.local import LocalStack
from app.stack.model_rules import STAGES, Asked, Fate, answer, fate_of
from schemas.answers import ANSWER_OF, Evaluation, Generation, MeetingExtract
from schemas.codes import Stage

MESSAGES = [f"Hello, could you please help me with question {hashlib.md5(bytes([n])).hexdigest()}?" for n in range(200)]
DRAFT = "Thank you for your message.\n\nKind regards"


@pytest.fixture
async def model(stack: LocalStack) -> AsyncIterator[AsyncOpenAI]:
    """The provider's own client, without its retries; behaviour is as by default before and after."""
    http = DefaultAioHttpClient()
    url, key = stack.env["OPENAI_BASE_URL"], stack.env["OPENAI_API_KEY"]
    async with AsyncOpenAI(base_url=url, api_key=key, http_client=http, max_retries=0, timeout=20) as client:
        yield client
    stack.model.behave(None)


def headers(stage: str, iteration: int = 0, call: str = "call-1") -> dict[str, str]:
    """What every request of the pipeline carries."""
    names = ("Stage", "Iteration", "Run", "Call")
    return {f"X-Draft-{name}": value for name, value in zip(names, (stage, str(iteration), "run-1", call), strict=True)}


def prompt(message: str, draft: str | None = None) -> str:
    """The parts of a prompt that the server looks at, among others."""
    fenced = f'Judge this.\n<untrusted name="trigger_message">\n{message}\n</untrusted>'
    return fenced if draft is None else f'{fenced}\n<untrusted name="draft">\n{draft}\n</untrusted>'


async def ask(client: AsyncOpenAI, stage: Stage, message: str, iteration: int = 0, call: str = "call-1") -> Any:
    """One strict request over the Responses API, parsed by the client."""
    response = await client.responses.parse(
        model="gpt-5.2",
        instructions="You judge replies.",
        input=[{"role": "user", "content": prompt(message, DRAFT)}],
        text_format=ANSWER_OF[stage],
        store=False,
        extra_headers=headers(stage, iteration, call),
    )
    assert response.usage is not None
    assert response.usage.output_tokens > 0
    return response.output_parsed


async def confidence(client: AsyncOpenAI, message: str, iteration: int) -> float:
    """What the evaluator says at an iteration."""
    answer = await ask(client, Stage.EVALUATION, message, iteration)
    assert isinstance(answer, Evaluation)
    return answer.confidence


@pytest.mark.parametrize("stage", list(Stage))
async def test_every_stage_parses_over_both_apis(model: AsyncOpenAI, stage: Stage) -> None:
    """The provider's client parses a strict answer of every stage, over Responses and Chat Completions."""
    message = "!!confident Could we find a time for a meeting?"
    by_responses = await ask(model, stage, message)
    completion = await model.chat.completions.parse(
        model="gpt-5.2",
        messages=[{"role": "system", "content": "x"}, {"role": "user", "content": prompt(message, DRAFT)}],
        response_format=ANSWER_OF[stage],
        extra_headers=headers(stage),
    )
    assert isinstance(by_responses, ANSWER_OF[stage])
    assert completion.choices[0].message.parsed == by_responses
    assert completion.usage is not None


async def test_schema_that_is_not_strict_is_refused(model: AsyncOpenAI) -> None:
    """A schema that the provider would refuse is a 400 here too."""
    schema: Any = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    with pytest.raises(openai.BadRequestError, match="additionalProperties"):
        await model.responses.create(
            model="gpt-5.2",
            input="hello",
            text={"format": {"type": "json_schema", "name": "a", "strict": True, "schema": schema}},
        )


async def test_ledger_line_is_on_disk_before_the_answer(stack: LocalStack, model: AsyncOpenAI) -> None:
    """When an answer arrives, its line with all ids is there."""
    for number in range(20):
        call = f"call-{time.time_ns()}"
        await ask(model, Stage.EVALUATION, "hello", number % 4, call)
        line = next(line for line in stack.model.ledger() if line["call_id"] == call)
        shown = (line["stage"], line["iteration"], line["run_id"], line["outcome"], line["model"])
        assert shown == ("auto_send_evaluation", number % 4, "run-1", "ok", "gpt-5.2")


async def test_model_restart_keeps_port_and_ledger(stack: LocalStack, model: AsyncOpenAI) -> None:
    """A crash of the server loses no line, and the address stays."""
    await ask(model, Stage.EVALUATION, "hello", 0, "before-the-crash")
    url = stack.model.url
    await stack.model.kill()
    await stack.model.start()
    assert stack.model.url == url
    assert any(line["call_id"] == "before-the-crash" for line in stack.model.ledger())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("p429", openai.RateLimitError),
        ("p500", openai.InternalServerError),
        ("p503", openai.InternalServerError),
        ("pcut", openai.APIConnectionError),
    ],
)
async def test_faults_reach_the_client(
    stack: LocalStack, model: AsyncOpenAI, fault: str, error: type[openai.APIError]
) -> None:
    """An injected fault is the client's own error, is in the ledger, and touches no other stage."""
    stack.model.behave({"stages": {"auto_send_evaluation": {fault: 1, "retry_after_s": 3}}})
    call = f"fault-{time.time_ns()}"
    with pytest.raises(error) as caught:
        await ask(model, Stage.EVALUATION, "hello", 0, call)
    if isinstance(caught.value, openai.RateLimitError):
        assert caught.value.response.headers["Retry-After"] == "3"
    assert [line["outcome"] for line in stack.model.ledger() if line["call_id"] == call] == [fault[1:]]
    assert await ask(model, Stage.STRATEGY, "hello")


async def test_hang_and_latency(stack: LocalStack, model: AsyncOpenAI) -> None:
    """A hang outlasts the client; a latency delays the answer by what was asked."""
    stack.model.behave({"default": {"latency_ms": 200}, "stages": {"draft_verifier_step3": {"phang": 1}}})
    started = time.monotonic()
    await ask(model, Stage.STRATEGY, "hello")
    assert time.monotonic() - started >= 0.2
    with pytest.raises(openai.APITimeoutError):
        await model.with_options(timeout=0.5).responses.create(
            model="gpt-5.2", input=prompt("hello"), extra_headers=headers("draft_verifier_step3")
        )


async def test_times_bounds_the_faults(stack: LocalStack, model: AsyncOpenAI) -> None:
    """With `times` the fault goes away by itself, so that a retry can be tested."""
    stack.model.behave({"stages": {"auto_send_evaluation": {"p500": 1, "times": 2}}})
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            await ask(model, Stage.EVALUATION, "hello")
    assert await ask(model, Stage.EVALUATION, "hello")


@pytest.mark.parametrize(
    "kind", ["not_json", "wrong_fields", "wrong_types", "out_of_range", "empty", "cut_off", "refused"]
)
async def test_nonsense_is_no_answer(stack: LocalStack, model: AsyncOpenAI, kind: str) -> None:
    """No kind of nonsense can be parsed as an evaluation."""
    stack.model.behave({"stages": {"auto_send_evaluation": {"pnonsense": 1, "nonsense": kind}}})
    try:
        parsed = await ask(model, Stage.EVALUATION, "hello")
    except ValueError:
        return
    assert kind == "refused"
    assert parsed is None


async def test_malice_is_well_formed_and_hostile(stack: LocalStack, model: AsyncOpenAI) -> None:
    """A malicious answer passes the schema, so only our own rules can stop it."""
    stack.model.behave({"default": {"pmalice": 1}})
    assert (await ask(model, Stage.EVALUATION, "!!never hello")).confidence == 1.0
    assert "<script>" in (await ask(model, Stage.GENERATION, "hello")).text


async def test_literal_answers_by_stage_and_iteration(stack: LocalStack, model: AsyncOpenAI) -> None:
    """A literal answer goes before the rules, one for an iteration before one for the stage."""
    said = {"confidence": 0.11, "reasons": [], "categories": []}
    later = {**said, "confidence": 0.99}
    stack.model.behave({"answers": {"auto_send_evaluation": said, "auto_send_evaluation@2": later}})
    assert [await confidence(model, "hello", number) for number in range(3)] == [0.11, 0.11, 0.99]


async def test_fates_follow_their_markers(model: AsyncOpenAI) -> None:
    """Near misses improve by the second iteration, hopeless ones never do, clean ones pass at once."""
    assert await confidence(model, "!!confident hello", 0) >= 0.9
    for number in range(6):
        near = [await confidence(model, f"!!near {number}", iteration) for iteration in range(3)]
        assert near[0] < 0.9
        assert max(near[1:]) > 0.9
    assert max([await confidence(model, "!!never hello", iteration) for iteration in range(4)]) < 0.9
    assert await confidence(model, "I want my money back, refund me", 3) == 0.4


async def test_reviser_never_returns_the_same_text(model: AsyncOpenAI) -> None:
    """A revision differs from the draft it was given, at every iteration."""
    text = DRAFT
    for iteration in range(1, 4):
        response = await model.responses.create(
            model="gpt-5.2",
            input=prompt("hello", text),
            extra_headers=headers("auto_send_revision_reviser", iteration),
        )
        revised = json.loads(response.output_text)["text"]
        assert revised != text
        text = revised


async def test_times_come_from_the_message_only(model: AsyncOpenAI) -> None:
    """A time is accepted when the lead named it or took the first slot, else it is left open."""
    stage = Stage.MEETING_EXTRACT
    named = await ask(model, stage, "The meeting at 2026-11-24T10:00:00+01:00 suits me")
    assert named.accepted_time == "2026-11-24T10:00:00+01:00"
    slots = '<untrusted name="free_slots">\n2026-11-25T09:00:00Z/2026-11-25T09:30:00Z\n</untrusted>\n'
    for message, accepted in (("I take the first slot", "2026-11-25T09:00:00Z"), ("Perhaps we could meet", None)):
        found = MeetingExtract.model_validate(answer(Asked(stage, 0, slots + prompt(message))))
        assert (found.accepted_time, found.proposed_times) == (accepted, [])
    assert (await ask(model, stage, "Can we schedule a meeting?")).accepted_time is None


def test_stages_are_those_of_the_pipeline() -> None:
    """The scripted model knows exactly the pipeline's stages."""
    assert set(STAGES) == {stage.value for stage in Stage}


def test_shares_of_fates() -> None:
    """Over many messages the fates come in about the shares that the rules name."""
    shares = Counter(fate_of(message, Asked("", 0, message).number) for message in map(str, range(20_000)))
    expected = {Fate.CLEAN: 0.61, Fate.NEAR: 0.133, Fate.NEVER: 0.067, Fate.LOW: 0.1, Fate.CLAIM: 0.08}
    for fate, share in expected.items():
        assert shares[fate] / 20_000 == pytest.approx(share, abs=0.015)
    assert 0 < shares[Fate.NONSENSE] < 400


@pytest.mark.parametrize(
    "greeting", ["", "Guten Tag, ich habe eine Frage und bitte um Hilfe. ", "Hola, tengo una duda. "]
)
def test_replies_claim_nothing(greeting: str) -> None:
    """Only messages fated to it get a draft with an amount or a link; the others hold no figure at all."""
    for message in MESSAGES:
        asked = Asked(Stage.GENERATION, 0, prompt(greeting + message))
        text = Generation.model_validate(answer(asked)).text
        claims = any(mark in text for mark in ("$49", "https://"))
        assert claims == (fate_of(asked.message, asked.number) is Fate.CLAIM)
        assert claims or not any(character.isdigit() for character in text)
