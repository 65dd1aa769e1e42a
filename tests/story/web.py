"""The web process of a story: `draft-pipeline web` on a port of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from app.stack.process import free_port
from tests.story.harness import Pipeline

BIN = Path(sys.executable).parent


@asynccontextmanager
async def web(flow: Pipeline) -> AsyncIterator[str]:
    """A running web process; yields its address."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(BIN / "draft-pipeline"), "web", "--port", str(port), env={**flow.stack.env, "PATH": str(BIN)}
    )
    base = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:

            async def is_ready() -> bool:
                try:
                    async with session.get(f"{base}/ready") as response:
                        return response.status == 200
                except aiohttp.ClientConnectionError:
                    return False

            await flow.until(is_ready, 30.0, "the web process answers")
        yield base
    finally:
        process.terminate()
        await process.wait()
