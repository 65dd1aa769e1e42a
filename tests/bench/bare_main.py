"""The other side of `overhead`: a bare asyncio loop that makes the four calls of a run and inserts its four artifacts.

A line `plain N` or `lean N` on stdin makes N runs; the answer is a line of JSON. `plain` calls `responses.create` as
everybody does; `lean` posts bytes that were built beforehand and reads the raw answer, as the worker does.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2
import openai
import orjson
import uvloop

from app.model.wire import PATHS
from schemas.limits import EVENTS_IN_FLIGHT_MAX, MODEL_CALL_S_MAX, OUTPUT_TOKENS_MAX
from tests.bench.sameness import Assignment, Call, read_assignment

_POOL_SIZE: Final = 24
_INSERT: Final = """
INSERT INTO bench_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload, text,
                            input_tokens, output_tokens, latency_ms)
VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9, $10, $11)
"""

# (model's text, input tokens, output tokens)
Said = tuple[str, int, int]
CallModel = Callable[[Call, uuid.UUID], Awaitable[Said]]


def plain_client(assignment: Assignment) -> openai.AsyncOpenAI:
    """The openai client on aiohttp, as its documentation shows it, with room for all runs at once."""
    return openai.AsyncOpenAI(
        api_key=assignment.api_key,
        base_url=assignment.base_url,
        max_retries=0,
        timeout=MODEL_CALL_S_MAX,
        http_client=openai.DefaultAioHttpClient(limits=httpx2.Limits(max_connections=2 * EVENTS_IN_FLIGHT_MAX)),
    )


class Bare:
    """The loop and its two clients' worth of tools."""

    def __init__(self, assignment: Assignment, pool: asyncpg.Pool) -> None:
        self._assignment, self._pool = assignment, pool
        self._openai = plain_client(assignment)
        self._bodies = {call.stage: orjson.dumps(arguments_of(call)) for call in assignment.calls}

    async def runs(self, kind: str, count: int) -> None:
        """Make `count` runs, so many at a time as the worker has."""
        call, left = {"plain": self._plain, "lean": self._lean}[kind], iter(range(count))

        async def one_after_another() -> None:
            for _ in left:
                await self._run(call)

        await asyncio.gather(*(one_after_another() for _ in range(min(count, self._assignment.in_flight))))

    async def _run(self, call_model: CallModel) -> None:
        run_id = uuid.uuid4()
        for call in self._assignment.calls:
            started = time.monotonic()
            text, tokens_in, tokens_out = await call_model(call, run_id)
            answer = orjson.loads(text)
            await self._pool.execute(
                _INSERT, uuid.uuid4(), run_id, call.stage, call.prompt_key, call.input_sha256, call.model,
                orjson.dumps(answer).decode(), answer.get("text"), tokens_in, tokens_out,
                round((time.monotonic() - started) * 1000),
            )  # fmt: skip

    async def _plain(self, call: Call, run_id: uuid.UUID) -> Said:
        response: Any = await self._openai.responses.create(
            **arguments_of(call), extra_headers=headers_of(call, run_id)
        )
        return response.output_text, response.usage.input_tokens, response.usage.output_tokens

    async def _lean(self, call: Call, run_id: uuid.UUID) -> Said:
        response = await self._openai.post(
            PATHS["responses"],
            cast_to=httpx2.Response,
            content=self._bodies[call.stage],
            options={"headers": headers_of(call, run_id)},
        )
        body = orjson.loads(response.content)
        usage = body["usage"]
        return body["output"][0]["content"][0]["text"], usage["input_tokens"], usage["output_tokens"]


def arguments_of(call: Call) -> dict[str, Any]:
    return {
        "model": call.model,
        "store": False,
        "instructions": call.system,
        "input": [{"role": "user", "content": call.user}],
        "text": {"format": {"type": "json_schema", "name": call.name, "schema": call.schema, "strict": True}},
        "max_output_tokens": OUTPUT_TOKENS_MAX,
        "reasoning": {"effort": call.effort},
    }


def headers_of(call: Call, run_id: uuid.UUID) -> dict[str, str]:
    return {
        "X-Draft-Stage": call.stage,
        "X-Draft-Iteration": "0",
        "X-Draft-Run": str(run_id),
        "X-Draft-Call": str(uuid.uuid4()),
    }


async def main(path: Path) -> None:
    """Answer lines on stdin until it closes."""
    assignment = read_assignment(path)
    pool = await asyncpg.create_pool(assignment.database_url, min_size=1, max_size=_POOL_SIZE)
    bare = Bare(assignment, pool)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        kind, count = line.split()
        wall, cpu = time.monotonic(), time.process_time()
        await bare.runs(kind, int(count))
        answer = {"runs": int(count), "cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - wall}
        print(orjson.dumps(answer).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
