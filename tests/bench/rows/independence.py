"""Whether one lead whose model call takes a minute slows the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.bench.arena import Arena, arena
from tests.bench.figures import Figure
from tests.bench.messages import SCHEDULING
from tests.bench.processes import BenchError
from tests.bench.progress import say
from tests.bench.waiting import until
from tests.bench.watching import Watch, percentile, watching

ROW: Final = "independence"
DEFINITION: Final = (
    "one lead whose model call takes {:.0f} s: p99 of the other leads' time from record to `draft-evaluated` with it,"
    " divided by the p99 without it"
)
HOW: Final = (
    "the scripted server is slow by stage: the slow lead asks for an appointment, so it alone is asked of the meeting"
    " overseer, whose answer takes that long, in the same agent, group and partitions as the others"
)
AIM: Final = 1.1
SLOW_STAGE: Final = "meeting_overseer_extract"
_CALL_MS: Final = 100
_PER_S: Final = 20.0
_S_MAX: Final = 60.0
_STARTED: Final = f"SELECT count(*) FROM model_call WHERE stage = '{SLOW_STAGE}' AND status = 'started'"


@dataclass(frozen=True)
class Size:
    warm_up: int
    seconds: float
    slow_s: float


FULL: Final = Size(warm_up=200, seconds=54.0, slow_s=60.0)
QUICK: Final = Size(warm_up=20, seconds=3.0, slow_s=10.0)


async def measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    async with arena() as place:
        await place.worker()
        await place.produce(place.messages(size.warm_up))
        await place.sent(size.warm_up, _S_MAX)
        slow = {"stages": {SLOW_STAGE: {"latency_ms": size.slow_s * 1000}}}
        place.stack.model.behave({"default": {"latency_ms": _CALL_MS}, **slow})
        async with watching(place) as watch:
            before = await _window(place, watch, size.seconds / 2)
            with_it = await _beside_a_slow_lead(place, watch, size)
            after = await _window(place, watch, size.seconds / 2)
    without = sorted(before + after)
    return [_figure(without, with_it, size.slow_s)]


async def _window(place: Arena, watch: Watch, seconds: float) -> list[float]:
    """Milliseconds from record to event of paced leads, sorted."""
    messages = place.messages(round(seconds * _PER_S))
    await watch.pace(messages, _PER_S)
    found = await watch.latencies_ms(messages, _S_MAX)
    say(f"  p50 {percentile(found, 0.5):.0f} ms, p99 {percentile(found, 0.99):.0f} ms of {len(found)}")
    return found


async def _beside_a_slow_lead(place: Arena, watch: Watch, size: Size) -> list[float]:
    """The same while one lead waits for its model call, from beginning to end."""
    await place.produce(place.messages(1, SCHEDULING))

    async def waits() -> bool:
        return bool(await place.pool.fetchval(_STARTED) == 1)

    await until(waits, _S_MAX, "the slow lead's call was not made")
    found = await _window(place, watch, size.seconds)
    if not await waits():
        raise BenchError("the slow lead's call ended before the others were measured")

    async def answered() -> bool:
        return not await waits()

    await until(answered, size.slow_s + _S_MAX, "the slow lead's call did not end")
    return found


def _figure(without: list[float], with_it: list[float], slow_s: float) -> Figure:
    p99 = percentile(with_it, 0.99), percentile(without, 0.99)
    return Figure(
        row=ROW,
        name="independence",
        definition=DEFINITION.format(slow_s),
        value=p99[0] / p99[1],
        unit="x",
        aim=AIM,
        at_most=True,
        sides={
            "p99 ms with": p99[0],
            "p99 ms without": p99[1],
            "p50 ms with": percentile(with_it, 0.5),
            "p50 ms without": percentile(without, 0.5),
            "leads with": float(len(with_it)),
            "leads without, half before and half after": float(len(without)),
            "model ms a call": float(_CALL_MS),
        },
        note=HOW,
    )
