"""Wait for what other processes do, with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.bench.processes import BenchError


async def until(
    holds: Callable[[], Awaitable[bool]], seconds_max: float, otherwise: str, *, poll_s: float = 0.1
) -> float:
    """The monotonic time at which `holds` was seen to hold. Raises BenchError with `otherwise` after `seconds_max`."""
    give_up = time.monotonic() + seconds_max
    while not await holds():
        if time.monotonic() > give_up:
            raise BenchError(f"{otherwise} after {seconds_max:.0f} s")
        await asyncio.sleep(poll_s)
    return time.monotonic()
