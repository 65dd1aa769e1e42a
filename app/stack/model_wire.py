"""The two OpenAI APIs on the wire: read a request of either, write an answer or an error as the provider would."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

RESPONSES, CHAT = "responses", "chat"
CHARS_PER_TOKEN: Final = 4
SCHEMA_DEPTH_MAX: Final = 32


class BadRequest(ValueError):
    """The provider would answer 400."""


@dataclass(frozen=True)
class Request:
    """What a request asks, whichever API it came by."""

    api: str
    model: str
    user_text: str
    chars: int
    max_tokens: int | None


@dataclass(frozen=True)
class Said:
    """What the model says. `refused` and `cut_off` are the two ways an answer can be none."""

    text: str
    refused: bool = False
    cut_off: bool = False


def read_request(api: str, body: Any) -> Request:
    """Check the parts that the provider checks.

    :raises BadRequest: for what it would refuse, a schema that is not strict included.
    """
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadRequest("you must provide a model parameter")
    if body.get("stream"):
        raise BadRequest("the scripted server does not stream")
    messages = body.get("input" if api == RESPONSES else "messages")
    texts = list(_texts(messages))
    if not texts:
        raise BadRequest("no input")
    _check_format(api, body)
    instructions = str(body.get("instructions") or "")
    user_text = "\n".join(text for role, text in texts if role == "user")
    limit = body.get("max_output_tokens") if api == RESPONSES else body.get("max_completion_tokens")
    chars = len(instructions) + sum(len(text) for _, text in texts)
    return Request(api, body["model"], user_text, chars, limit)


def _texts(messages: Any) -> Sequence[tuple[str, str]]:
    """(role, text) of each message; content may be a string or a list of parts."""
    if isinstance(messages, str):
        return [("user", messages)]
    found: list[tuple[str, str]] = []
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        parts = [content] if isinstance(content, str) else [p.get("text") for p in content or [] if isinstance(p, dict)]
        found += [(str(message.get("role")), part) for part in parts if isinstance(part, str)]
    return found


def _check_format(api: str, body: Mapping[str, Any]) -> None:
    if api == RESPONSES:
        wanted = (body.get("text") or {}).get("format") or {}
    else:
        outer = body.get("response_format") or {}
        wanted = {"type": outer.get("type"), **(outer.get("json_schema") or {})}
    if wanted.get("type") != "json_schema":
        return
    if not wanted.get("name") or not isinstance(wanted.get("schema"), dict):
        raise BadRequest("a json_schema format needs name and schema")
    if wanted.get("strict"):
        _check_strict(wanted["schema"], "schema", 0)


def _check_strict(schema: Any, path: str, depth: int) -> None:
    """Strict structured outputs: every object is closed and requires all its properties."""
    if depth > SCHEMA_DEPTH_MAX:
        raise BadRequest(f"invalid schema: {path} is nested too deeply")
    if isinstance(schema, list):
        for number, part in enumerate(schema):
            _check_strict(part, f"{path}[{number}]", depth + 1)
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    if isinstance(properties, dict) and schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise BadRequest(f"invalid schema: 'additionalProperties' must be false in {path}")
        if set(schema.get("required") or []) != set(properties):
            raise BadRequest(f"invalid schema: 'required' must name every property in {path}")
    for key in ("properties", "$defs", "anyOf", "items"):
        inner = schema.get(key)
        parts = inner.values() if isinstance(inner, dict) and key in ("properties", "$defs") else [inner]
        for part in parts:
            _check_strict(part, f"{path}.{key}", depth + 1)


def write_answer(request: Request, said: Said, call: str) -> dict[str, Any]:
    """The body of a 200."""
    tokens_in, tokens_out = request.chars // CHARS_PER_TOKEN + 1, len(said.text) // CHARS_PER_TOKEN + 1
    if request.api == CHAT:
        return _chat(request, said, call, tokens_in, tokens_out)
    return _response(request, said, call, tokens_in, tokens_out)


def _response(request: Request, said: Said, call: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    status = "incomplete" if said.cut_off else "completed"
    part: dict[str, Any] = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
    if said.refused:
        part = {"type": "refusal", "refusal": said.text}
    message = {"id": f"msg_{call}", "type": "message", "role": "assistant", "status": status, "content": [part]}
    return {
        "id": f"resp_{call}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if said.cut_off else None,
        "instructions": None,
        "max_output_tokens": request.max_tokens,
        "metadata": {},
        "model": request.model,
        "output": [message],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": tokens_in,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens_in + tokens_out,
        },
    }


def _chat(request: Request, said: Said, call: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    content, refusal = (None, said.text) if said.refused else (said.text, None)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": refusal, "annotations": []}
    reason = "length" if said.cut_off else "stop"
    return {
        "id": f"chatcmpl-{call}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


def write_error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """The body of a 4xx or 5xx."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
