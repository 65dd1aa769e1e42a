"""Standard runs per second from Kafka to result, against the same calls as steps of a DBOS workflow."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.config import kafka_kwargs
from tests.bench.arena import Arena, arena
from tests.bench.dbos_main import DATABASE, TOPIC
from tests.bench.figures import Figure
from tests.bench.messages import WORKSPACES
from tests.bench.processes import Process
from tests.bench.progress import say
from tests.bench.sameness import assignment

ROW: Final = "dbos"
DEFINITION: Final = (
    "standard runs per second from Kafka to result, this worker (to the delivered reply) / the same 4 calls as steps of"
    " a DBOS workflow started from Kafka on the same Postgres (to the recorded result)"
)
AIM: Final = 1.5
IN_FLIGHT: Final = 200
_PARTITIONS: Final = 12
_S_MAX: Final = 300.0


@dataclass(frozen=True)
class Size:
    warm_up: int
    runs: int
    rounds: int


FULL: Final = Size(warm_up=200, runs=500, rounds=5)
QUICK: Final = Size(warm_up=20, runs=40, rounds=1)


@dataclass
class Rounds:
    """Runs a second and CPU milliseconds a run, one entry a round."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    our_cpu_ms: list[float] = field(default_factory=list)
    their_cpu_ms: list[float] = field(default_factory=list)
    our_runs: int = 0
    their_runs: int = 0


async def measure(quick: bool) -> list[Figure]:
    size, rounds = QUICK if quick else FULL, Rounds()
    async with arena() as place:
        await place.set_all(running_runs_max=IN_FLIGHT // len(WORKSPACES))
        worker = await place.worker()
        await _ours(place, worker, size.warm_up, rounds)
        dbos = await _dbos(place)
        await _theirs(place, dbos, size.warm_up, rounds)
        rounds = Rounds(our_runs=rounds.our_runs, their_runs=rounds.their_runs)
        for number in range(size.rounds):
            await _ours(place, worker, size.runs, rounds)
            await _theirs(place, dbos, size.runs, rounds)
            say(f"  round {number + 1}: worker {rounds.ours[-1]:.1f}, DBOS {rounds.theirs[-1]:.1f} runs/s")
        await place.check_standard(rounds.our_runs)
    return [_figure(rounds)]


async def _dbos(place: Arena) -> Process:
    await place.pool.execute(f"CREATE DATABASE {DATABASE}")
    admin = AIOKafkaAdminClient(**kafka_kwargs(place.config))
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, _PARTITIONS, 1)])
    await admin.close()
    path = (await assignment(place, IN_FLIGHT)).write(place.stack.dir / "assignment.json")
    dbos = await place.process("tests.bench.dbos_main", str(path))
    await dbos.line()
    return dbos


async def _ours(place: Arena, worker: Process, runs: int, rounds: Rounds) -> None:
    before, rounds.our_runs = worker.cpu_s(), rounds.our_runs + runs
    started = await place.produce(place.messages(runs))
    ended = await place.sent(rounds.our_runs, _S_MAX)
    rounds.ours.append(runs / (ended - started))
    rounds.our_cpu_ms.append((worker.cpu_s() - before) * 1000 / runs)


async def _theirs(place: Arena, dbos: Process, runs: int, rounds: Rounds) -> None:
    before, rounds.their_runs = dbos.cpu_s(), rounds.their_runs + runs
    started = await place.produce(place.messages(runs), TOPIC)
    await dbos.ask(f"wait {rounds.their_runs}", _S_MAX)
    rounds.theirs.append(runs / (time.monotonic() - started))
    rounds.their_cpu_ms.append((dbos.cpu_s() - before) * 1000 / runs)


def _figure(rounds: Rounds) -> Figure:
    ratios = [ours / theirs for ours, theirs in zip(rounds.ours, rounds.theirs, strict=True)]
    return Figure(
        row=ROW,
        name="against DBOS",
        definition=DEFINITION,
        value=statistics.median(ratios),
        unit="x",
        aim=AIM,
        at_most=False,
        sides={
            "worker runs/s": statistics.median(rounds.ours),
            "DBOS runs/s": statistics.median(rounds.theirs),
            "worker ms CPU a run": statistics.median(rounds.our_cpu_ms),
            "DBOS ms CPU a run": statistics.median(rounds.their_cpu_ms),
            "finished runs": float(rounds.our_runs),
            "finished workflows": float(rounds.their_runs),
        },
        note=f"median of {len(ratios)} alternating rounds; {IN_FLIGHT} at a time on both sides.",
    )
