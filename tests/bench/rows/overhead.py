"""CPU of the worker per standard run, against a bare loop that makes the same calls and inserts the same rows."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tests.bench.arena import Arena, arena
from tests.bench.figures import Figure
from tests.bench.messages import WORKSPACES
from tests.bench.processes import BenchError, Process
from tests.bench.progress import say
from tests.bench.sameness import assignment

ROW: Final = "overhead"
DEFINITION: Final = (
    "CPU seconds of the worker per standard run / CPU seconds of a bare asyncio loop that makes the same 4 openai calls"
    " and inserts the same 4 artifact rows, nothing else"
)
AIM: Final = 1.6
IN_FLIGHT: Final = 200
_MS: Final = 1000
_S_MAX: Final = 60.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    warm_up: int
    runs: int
    rounds: int
    idle_s: float


FULL: Final = Size(warm_up=200, runs=500, rounds=5, idle_s=5.0)
QUICK: Final = Size(warm_up=20, runs=40, rounds=1, idle_s=0.5)


@dataclass
class Rounds:
    """CPU milliseconds a run, one entry a round."""

    worker: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    lean: list[float] = field(default_factory=list)
    runs: int = 0

    def ratio(self, other: list[float]) -> float:
        """The median of the rounds' ratios: what disturbs a round disturbs both its sides."""
        return statistics.median(ours / theirs for ours, theirs in zip(self.worker, other, strict=True))


async def measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    async with arena() as place:
        await place.set_all(running_runs_max=IN_FLIGHT // len(WORKSPACES))
        worker = await place.worker()
        await place.produce(place.messages(size.warm_up))
        await place.sent(size.warm_up, _S_MAX)
        bare = await _bare(place)
        await _bare_runs(bare, "plain", size.warm_up)
        await _bare_runs(bare, "lean", size.warm_up)
        rounds = Rounds(runs=size.warm_up)
        for number in range(size.rounds):
            await _round(place, worker, bare, size, rounds)
            say(f"  round {number + 1}: {_latest(rounds)}")
        idle = await _idle_share(worker, size.idle_s)
        await _check(place, size, rounds)
    return [_figure(rounds, idle)]


async def _bare(place: Arena) -> Process:
    """The bare loop; its table has the columns, checks and indexes of the real one."""
    await place.pool.execute("CREATE TABLE bench_artifact (LIKE draft_pipeline_artifact INCLUDING ALL)")
    path = (await assignment(place, IN_FLIGHT)).write(place.stack.dir / "assignment.json")
    bare = await place.process("tests.bench.bare_main", str(path))
    await bare.line()
    return bare


async def _round(place: Arena, worker: Process, bare: Process, size: Size, rounds: Rounds) -> None:
    """Each side once, one after the other."""
    rounds.plain.append(await _bare_runs(bare, "plain", size.runs))
    before = worker.cpu_s()
    await place.produce(place.messages(size.runs))
    rounds.runs += size.runs
    await place.sent(rounds.runs, _S_MAX)
    rounds.worker.append((worker.cpu_s() - before) * _MS / size.runs)
    rounds.lean.append(await _bare_runs(bare, "lean", size.runs))


async def _bare_runs(bare: Process, kind: str, runs: int) -> float:
    """CPU milliseconds a run."""
    said: dict[str, Any] = orjson.loads(await bare.ask(f"{kind} {runs}", _S_MAX))
    return float(said["cpu_s"]) * _MS / runs


async def _idle_share(worker: Process, seconds: float) -> float:
    """Percent of one CPU that the worker uses while it has nothing to do."""
    before = worker.cpu_s()
    await asyncio.sleep(seconds)
    return (worker.cpu_s() - before) / seconds * 100


async def _check(place: Arena, size: Size, rounds: Rounds) -> None:
    """Both sides did their work."""
    await place.check_standard(rounds.runs)
    rows = await place.pool.fetchval("SELECT count(*) FROM bench_artifact")
    wanted = 4 * 2 * (size.warm_up + size.rounds * size.runs)
    if rows != wanted:
        raise BenchError(f"the bare loop stored {rows} of {wanted} artifacts")


def _latest(rounds: Rounds) -> str:
    return f"worker {rounds.worker[-1]:.2f} ms, bare {rounds.plain[-1]:.2f} ms, lean {rounds.lean[-1]:.2f} ms CPU a run"


def _figure(rounds: Rounds, idle: float) -> Figure:
    return Figure(
        row=ROW,
        name="overhead",
        definition=DEFINITION,
        value=rounds.ratio(rounds.plain),
        unit="x",
        aim=AIM,
        at_most=True,
        sides={
            "worker ms CPU a run": statistics.median(rounds.worker),
            "bare loop ms CPU a run": statistics.median(rounds.plain),
            "bare loop that skips the client's models, ms CPU a run": statistics.median(rounds.lean),
            "ratio to that": rounds.ratio(rounds.lean),
            "idle worker, percent of a CPU": idle,
            "finished runs": float(rounds.runs),
        },
        note=f"median of {len(rounds.worker)} alternating rounds; the worker's CPU holds all that it does meanwhile.",
    )
