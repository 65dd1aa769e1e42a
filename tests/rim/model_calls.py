"""One model call in a test: what is asked, and servers that answer it."""

import json
from typing import Any, Literal
from uuid import uuid4

from aiohttp import web

from agents.ports import CallIdentity, ModelResult
from agents.state import Ask
from app.config import Config
from app.model import Breaker, ModelClient
from schemas.answers import ANSWER_OF
from schemas.codes import Stage
from schemas.settings import ModelChoice
from tests.rim.servers import serving

Api = Literal["responses", "chat"]
CHOICE = ModelChoice(model="gpt-5.2", effort="high")
CALL_S = 5.0
SHORT_S = 0.3


def ask(stage: Stage = Stage.GENERATION, iteration: int = 0) -> Ask:
    return Ask(stage, iteration, f"{stage}@1", "You answer mail.", "Please call me. !!confident", ANSWER_OF[stage])


def client(url: str, api: Api = "responses", breaker: Breaker | None = None) -> ModelClient:
    return ModelClient(
        Config(_env_file=None, openai_api_key="key", openai_base_url=f"{url}/v1", openai_api=api), breaker
    )


def identity() -> CallIdentity:
    return CallIdentity(uuid4(), uuid4())


async def call(url: str, asked: Ask | None = None, api: Api = "responses", timeout_s: float = CALL_S) -> ModelResult:
    model = client(url, api)
    try:
        return await model.call(asked or ask(), CHOICE, identity(), timeout_s)
    finally:
        await model.close()


def reply(text: Any, api: Api = "responses", **changes: Any) -> dict[str, Any]:
    """The body of a 200 with `text` as the model's words."""
    said = text if isinstance(text, str) else json.dumps(text)
    if api == "chat":
        choice = {"finish_reason": "stop", "message": {"content": said}} | changes
        return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    message = {"type": "message", "content": [{"type": "output_text", "text": said}]}
    return {"status": "completed", "output": [message], "usage": {"input_tokens": 7, "output_tokens": 3}} | changes


async def answered_with(body: Any, asked: Ask | None = None, api: Api = "responses", status: int = 200) -> ModelResult:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=content, status=status, content_type="application/json")

    async with serving(handler) as url:
        return await call(url, asked, api)
