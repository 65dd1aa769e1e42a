"""What one worker adds to the model's time, with hundreds of runs in flight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.bench.arena import Arena, arena
from tests.bench.cpu import stack_cpu_s
from tests.bench.figures import Figure
from tests.bench.messages import WORKSPACES
from tests.bench.progress import say
from tests.bench.watching import percentile, watching

ROW: Final = "concurrency"
DEFINITION: Final = (
    "one worker, model latency 1 s a call, paced arrivals that keep {} runs in flight over 5 workspaces, quiet window"
    " 0: {} of (time from record to `draft-evaluated`, minus 4 s of model time)"
)
HIGHEST: Final = "the highest number of runs in flight at which that p99 stays below 500 ms"
P50_AIM_MS: Final = 100.0
P99_AIM_MS: Final = 500.0
IN_FLIGHT_AIM: Final = 300.0
CALL_S: Final = 1.0
MODEL_S: Final = 4 * CALL_S
_S_MAX: Final = 120.0


@dataclass(frozen=True)
class Size:
    """`first` is the load that is judged; `up` is climbed until one misses, or `down` until one does not."""

    warm_up: int
    lead_in_s: float
    seconds: float
    first: int
    up: tuple[int, ...]
    down: tuple[int, ...]


FULL: Final = Size(
    warm_up=800, lead_in_s=8.0, seconds=30.0, first=200, up=(250, 300, 350, 400, 500, 600), down=(150, 100, 50)
)
QUICK: Final = Size(warm_up=20, lead_in_s=5.0, seconds=3.0, first=20, up=(), down=())


@dataclass(frozen=True)
class Load:
    """One load: what was wanted, what was in flight on average, what the worker added (sorted), percent of a CPU that it
    used, and CPU milliseconds a run of worker, broker, database and scripted model together."""

    wanted: int
    in_flight: float
    added_ms: list[float]
    worker_cpu: float
    all_cpu_ms: float

    def __str__(self) -> str:
        cpu = f"worker {self.worker_cpu:.0f} % of a CPU, all processes {self.all_cpu_ms:.0f} ms CPU a run"
        return f"p50 {self.p50:.0f} ms, p99 {self.p99:.0f} ms, {cpu}"

    @property
    def good(self) -> bool:
        return self.p99 < P99_AIM_MS

    @property
    def p50(self) -> float:
        return percentile(self.added_ms, 0.5)

    @property
    def p99(self) -> float:
        return percentile(self.added_ms, 0.99)


async def measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    async with arena() as place:
        first = await _load(place, size, size.first)
        climbed = [first]
        for wanted in size.up if first.good else size.down:
            climbed.append(await _load(place, size, wanted))
            if climbed[-1].good != first.good:
                break
    return _figures(first, climbed)


async def _load(place: Arena, size: Size, wanted: int) -> Load:
    """A fresh worker under one load; what arrives in the lead-in is not counted."""
    place.stack.model.behave(None)
    worker = await place.worker()
    await place.produce(place.messages(size.warm_up))
    place.runs += size.warm_up
    await place.sent(place.runs, _S_MAX)
    place.stack.model.behave({"default": {"latency_ms": CALL_S * 1000}})
    per_s = wanted / MODEL_S
    lead_in, counted = place.messages(round(size.lead_in_s * per_s)), place.messages(round(size.seconds * per_s))
    async with watching(place) as watch:
        await watch.pace(lead_in, per_s)
        before, stack_before = worker.cpu_s(), sum(stack_cpu_s(place.stack).values())
        await watch.pace(counted, per_s)
        cpu_s, stack_s = worker.cpu_s() - before, sum(stack_cpu_s(place.stack).values()) - stack_before
        whole = await watch.latencies_ms(counted, _S_MAX)
    place.runs += len(lead_in) + len(counted)
    await place.sent(place.runs, _S_MAX)
    await worker.stop()
    load = Load(
        wanted,
        in_flight=per_s * sum(whole) / len(whole) / 1000,
        added_ms=[ms - MODEL_S * 1000 for ms in whole],
        worker_cpu=cpu_s / size.seconds * 100,
        all_cpu_ms=(cpu_s + stack_s) * 1000 / len(counted),
    )
    say(f"  {wanted} in flight: {load}")
    return load


def _figures(first: Load, climbed: list[Load]) -> list[Figure]:
    """The judged load's two percentiles, and how far the climb went."""
    sides: dict[str, float | str] = {
        "in flight on average": first.in_flight,
        "runs measured": float(len(first.added_ms)),
        "worker, percent of a CPU": first.worker_cpu,
        "all processes, ms CPU a run": first.all_cpu_ms,
        "workspaces": float(len(WORKSPACES)),
    }
    steps: dict[str, float | str] = {f"{load.wanted} in flight": str(load) for load in climbed}
    highest = float(max((load.wanted for load in climbed if load.good), default=0))
    judged_by = (
        "the model's time is taken as 4 s flat, so the scripted server's own lateness counts against the worker."
    )
    return [
        Figure(
            ROW,
            "concurrency p50",
            DEFINITION.format(first.wanted, "p50"),
            first.p50,
            "ms",
            P50_AIM_MS,
            True,
            sides,
            judged_by,
        ),
        Figure(
            ROW, "concurrency p99", DEFINITION.format(first.wanted, "p99"), first.p99, "ms", P99_AIM_MS, True, sides
        ),
        Figure(ROW, "highest in flight", HIGHEST, highest, "runs", IN_FLIGHT_AIM, False, steps),
    ]
