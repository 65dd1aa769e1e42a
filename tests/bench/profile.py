"""Where the worker's CPU goes: `python -m tests.bench.profile` samples a worker under load, prints Markdown."""

from __future__ import annotations

import argparse
import json
import pstats
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from tests.bench.arena import arena
from tests.bench.cpu import stack_cpu_s
from tests.bench.progress import say
from tests.bench.sampling import short
from tests.bench.waiting import until
from tests.bench.watching import Watch

_S_MAX: Final = 600.0
_WARM_UP: Final = 400
_US: Final = 1_000_000
_ROWS: Final = 40
_WRITTEN_S_MAX: Final = 60.0
_OURS: Final = re.compile(r"(?:agents|app|db|schemas)/")
# The first pattern that a frame matches, looked for from the leaf outwards, names the kind of work.
_KINDS: Final = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"^other thread", "Kafka consumer threads (Faust)"),
        (r"^(structlog|logging)/|^app/logging", "logging"),
        (r"^pydantic/|^pydantic_core|^app/model/wire\.py:parse_answer|model_dump|model_validate", "pydantic"),
        (r"^jinja2/|^agents/prompting|<template>", "prompts"),
        (r"^agents/hard_blocks", "hard blocks"),
        (r"^agents/gates", "gates"),
        (r"^(openai|httpx2|httpcore|aiohttp|anyio|httpx2_aiohttp|httpx_aiohttp|yarl|multidict)", "model client"),
        (r"^app/model/prices|^genai_prices", "prices"),
        (r"^app/model/wire", "model request and answer"),
        (r"^asyncpg/|^db/", "Postgres client"),
        (r"^aiokafka/|^kafka/", "Kafka client (aiokafka)"),
        (r"^(faust|mode)/", "Faust"),
        (r"^app/kafka|^app/relay", "our Kafka rim and relay"),
        (r"^schemas/ids|^uuid", "ids"),
        (r"^(agents|app)/", "agents and rim, own code"),
        (r"^asyncio/", "asyncio"),
    )
)
_LOOP: Final = "uvloop and protocols in C, no Python frame"


@dataclass(frozen=True)
class Profile:
    """Microseconds of CPU a run, by stack (leaf last); the share of the main thread; CPU milliseconds a run by part."""

    stacks: Counter[tuple[str, ...]]
    main_share: float
    parts_ms: dict[str, float]

    @property
    def cpu_ms(self) -> float:
        return self.stacks.total() / 1000

    def by(self, key: Callable[[tuple[str, ...]], Iterable[str]]) -> list[tuple[str, int]]:
        """Microseconds a run by every name that `key` gives a stack, once each, the largest first."""
        found: Counter[str] = Counter()
        for stack, us in self.stacks.items():
            for name in set(key(stack)):
                found[name] += us
        return found.most_common(_ROWS)


def read_profile(path: Path, runs: int, parts_ms: dict[str, float]) -> Profile:
    """The sampler's file as microseconds a run: the main thread's samples share its CPU, the other threads' theirs."""
    raw = json.loads(path.read_text())
    samples = Counter({tuple(stack.split(";")): number for stack, number in raw["stacks"].items()})
    seconds = {False: raw["main_s"], True: raw["cpu_s"] - raw["main_s"]}
    totals = {kind: sum(n for stack, n in samples.items() if _elsewhere(stack) == kind) or 1 for kind in seconds}
    scaled: Counter[tuple[str, ...]] = Counter()
    for stack, number in samples.items():
        kind = _elsewhere(stack)
        scaled[stack] = round(number / totals[kind] * seconds[kind] * _US / runs)
    return Profile(scaled, raw["main_s"] / raw["cpu_s"], parts_ms)


def _elsewhere(stack: tuple[str, ...]) -> bool:
    return stack[0] == "other thread"


def kind_of(stack: tuple[str, ...]) -> str:
    if _elsewhere(stack):
        return _KINDS[0][1]
    for frame in reversed(stack):
        for pattern, kind in _KINDS:
            if pattern.search(frame):
                return kind
    return _LOOP


def _our_frames(stack: tuple[str, ...]) -> list[str]:
    return [frame for frame in stack if _OURS.match(frame)]


def _query(stack: tuple[str, ...]) -> list[str]:
    """The query that runs, when the sample lies within one."""
    return [frame.partition("[")[2].rstrip("]") for frame in stack[-12:] if frame.endswith("]") and "[" in frame][-1:]


def markdown(profile: Profile, runs: int) -> str:
    """The profile, readable."""
    parts = [
        f"# CPU of a worker per standard run: {profile.cpu_ms:.2f} ms ({runs} runs, sampled)",
        f"Main thread {profile.main_share:.0%} of the process's CPU. Microseconds a run.",
        _section(
            "All processes, for the whole (a run, CPU)", [(n, round(ms * 1000)) for n, ms in profile.parts_ms.items()]
        ),
        _section("By kind of work (exclusive, sums to the whole)", profile.by(lambda stack: [kind_of(stack)])),
        _section("By query (client side, within `Query.*`)", profile.by(_query)),
        _section("Our functions, inclusive", profile.by(_our_frames)),
        _section("Leaf functions (self time, C below counted to them)", profile.by(lambda stack: [stack[-1]])),
        _section("Libraries' functions, inclusive", profile.by(lambda stack: [f for f in stack if not _OURS.match(f)])),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, rows: Sequence[tuple[str, int]]) -> str:
    lines = [f"| {us:,.0f} | `{name}` |" for name, us in rows]
    return "\n".join([f"## {title}", "", "| µs a run | |", "|---:|---|", *lines])


@dataclass(frozen=True)
class Loaded:
    """A worker's file after the load, and CPU milliseconds a run by part."""

    path: Path
    parts_ms: dict[str, float]


@asynccontextmanager
async def loaded(option: str, runs: int, per_s: float | None) -> AsyncIterator[Loaded]:
    """A watched worker after `runs` standard runs, that came at once or `per_s` a second."""
    async with arena() as place:
        path = place.stack.dir / "watched"

        async def written() -> bool:
            return path.exists()

        worker = await place.worker(option, str(path))
        await place.produce(place.messages(_WARM_UP))
        await place.sent(_WARM_UP, _S_MAX)
        worker.signal(signal.SIGUSR1)
        before = {**stack_cpu_s(place.stack), "worker": worker.cpu_s()}
        started = time.monotonic()
        if per_s is None:
            await place.produce(place.messages(runs))
        else:
            await Watch(place).pace(place.messages(runs), per_s)
        ended = await place.sent(_WARM_UP + runs, _S_MAX)
        worker.signal(signal.SIGUSR2)
        after = {**stack_cpu_s(place.stack), "worker": worker.cpu_s()}
        say(f"  {runs / (ended - started):.1f} runs/s")
        await until(written, _WRITTEN_S_MAX, "the worker has not written its profile")
        yield Loaded(path, {name: (after[name] - before[name]) * 1000 / runs for name in after})


async def sampled(runs: int, per_s: float | None) -> str:
    """Where the CPU goes, by sampling."""
    async with loaded("--profile", runs, per_s) as found:
        return markdown(read_profile(found.path, runs, found.parts_ms), runs)


async def counted(runs: int, per_s: float | None) -> str:
    """How often every function is called a run."""
    async with loaded("--counts", runs, per_s) as found:
        stats = pstats.Stats(str(found.path)).stats  # type: ignore[attr-defined]
    rows = sorted(stats.items(), key=lambda item: -item[1][2])[: 3 * _ROWS]
    lines = [
        f"| {calls / runs:.1f} | {own * _US / runs:,.0f} | {below * _US / runs:,.0f} | `{short(file)}:{line}:{name}` |"
        for (file, line, name), (_, calls, own, below, _) in rows
    ]
    head = ["## Calls a run (exact), and their time under cProfile (inflated)", ""]
    return "\n".join([*head, "| calls | own µs | with callees µs | |", "|---:|---:|---:|---|", *lines]) + "\n"


def main() -> int:
    """Print the profile."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--rate", type=float, help="arrivals a second; all at once without")
    parser.add_argument("--counts", action="store_true", help="count calls instead of sampling")
    arguments = parser.parse_args()
    print(uvloop.run((counted if arguments.counts else sampled)(arguments.runs, arguments.rate)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
