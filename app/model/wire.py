"""The two OpenAI APIs on the wire: a request from an `Ask`, and what a body of a 200 says. Pure."""

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import openai
import orjson
from pydantic import ValidationError

from agents.state import Ask
from schemas.answers import Answer
from schemas.codes import Stage
from schemas.limits import OUTPUT_TOKENS_MAX
from schemas.settings import ModelChoice

Api = Literal["responses", "chat"]
PATHS: Final[dict[Api, str]] = {"responses": "/responses", "chat": "/chat/completions"}
TOKENS_MAX: Final = 2**31 - 1  # what the database stores

# These answer 400 to a reasoning effort.
_NOT_REASONING: Final = re.compile(r"gpt-3|gpt-4|chatgpt-4|ft:gpt-[34]")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_UNFINISHED: Final = {"length": "cut_off", "content_filter": "content_filter"}
_MUST_HAVE_TEXT: Final = frozenset({Stage.GENERATION, Stage.VERIFIER, Stage.REVISER})


@dataclass(frozen=True)
class Tokens:
    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Reply:
    """What came back with a 200: the model's text, or the code of why there is none.

    `failed`: the server did not finish its work. `unusable`: it did, and this is no answer.
    """

    text: str = ""
    tokens: Tokens = Tokens()
    failed: str | None = None
    unusable: str | None = None


@cache
def schema_of(answer: type[Answer]) -> dict[str, Any]:
    """The strict JSON schema of an answer class: closed objects, every property required. Built once per class."""
    function: Any = openai.pydantic_function_tool(answer)["function"]
    return dict(function["parameters"])


@cache
def schema_text(answer: type[Answer]) -> str:
    """The schema as the model is billed for it."""
    return orjson.dumps(schema_of(answer)).decode()


def request_body(api: Api, ask: Ask, choice: ModelChoice) -> bytes:
    """The JSON of one request. Nothing is stored at the provider."""
    schema = {"name": ask.answer.__name__, "schema": schema_of(ask.answer), "strict": True}
    body: dict[str, Any] = {"model": choice.model, "store": False}
    reasons = not _NOT_REASONING.match(choice.model)
    if api == "responses":
        body |= {"instructions": ask.system, "input": [{"role": "user", "content": ask.user}]}
        body |= {"text": {"format": {"type": "json_schema", **schema}}, "max_output_tokens": OUTPUT_TOKENS_MAX}
        body |= {"reasoning": {"effort": choice.effort}} if reasons else {}
    else:
        body["messages"] = [{"role": "system", "content": ask.system}, {"role": "user", "content": ask.user}]
        body |= {"response_format": {"type": "json_schema", "json_schema": schema}}
        body |= {"max_completion_tokens": OUTPUT_TOKENS_MAX}
        body |= {"reasoning_effort": choice.effort} if reasons else {}
    return orjson.dumps(body)


def read_reply(api: Api, content: bytes) -> Reply:
    """Read the body of a 200; never raises, whatever it holds."""
    try:
        body = json.loads(content)  # takes lone surrogates, which then make the answer unusable, not the body
        return _read_response(body) if api == "responses" else _read_chat(body)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return Reply(failed="invalid_body")


def _read_response(body: Any) -> Reply:
    usage = body.get("usage") or {}
    tokens = Tokens(
        _count(usage, "input_tokens"),
        _count(usage, "output_tokens"),
        _count(usage.get("input_tokens_details"), "cached_tokens"),
        _count(usage.get("output_tokens_details"), "reasoning_tokens"),
    )
    if body["status"] not in ("completed", "incomplete"):
        return Reply(tokens=tokens, failed="not_completed")
    if body["status"] == "incomplete":
        filtered = (body.get("incomplete_details") or {}).get("reason") == "content_filter"
        return Reply(tokens=tokens, unusable="content_filter" if filtered else "cut_off")
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    if any(part["type"] == "refusal" for part in parts):
        return Reply(tokens=tokens, unusable="refused")
    return _said("".join(part["text"] for part in parts if part["type"] == "output_text"), tokens)


def _read_chat(body: Any) -> Reply:
    usage = body.get("usage") or {}
    tokens = Tokens(
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        _count(usage.get("prompt_tokens_details"), "cached_tokens"),
        _count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )
    choice = body["choices"][0]
    if choice.get("finish_reason") in _UNFINISHED:
        return Reply(tokens=tokens, unusable=_UNFINISHED[choice["finish_reason"]])
    if choice["message"].get("refusal"):
        return Reply(tokens=tokens, unusable="refused")
    return _said(choice["message"].get("content") or "", tokens)


def _said(text: str, tokens: Tokens) -> Reply:
    return Reply(text, tokens) if text.strip() else Reply(tokens=tokens, unusable="empty")


def _count(counts: Any, name: str) -> int:
    """A token count; what is no sensible number counts as 0."""
    value = counts.get(name) if isinstance(counts, dict) else None
    return min(max(value, 0), TOKENS_MAX) if isinstance(value, int) else 0


def parse_answer(ask: Ask, text: str) -> Answer | str:
    """The answer in the model's text, or the code of why it is none."""
    if _UNSTORABLE.search(text):
        return "unstorable_text"
    try:
        answer = ask.answer.model_validate_json(text, strict=True)
    except (ValidationError, ValueError, RecursionError):
        return "does_not_parse"
    if not all(_storable(value) for value in answer.model_dump().values()):
        return "unstorable_text"
    if ask.stage in _MUST_HAVE_TEXT and _blank(str(getattr(answer, "text", ""))):
        return "blank_text"
    return answer


def _storable(value: object) -> bool:
    """Postgres stores neither NUL nor lone surrogates."""
    if isinstance(value, list):
        return all(_storable(part) for part in value)
    return not (isinstance(value, str) and _UNSTORABLE.search(value))


def _blank(text: str) -> bool:
    """True when a reader would see nothing: blanks, controls and zero-width characters only."""
    return not any(character.isprintable() and not character.isspace() for character in text)
