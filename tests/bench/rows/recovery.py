"""How long the events of a worker that was killed wait until the other works on them."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Final

from tests.bench.arena import Arena, arena
from tests.bench.figures import Figure
from tests.bench.messages import SCHEDULING
from tests.bench.processes import BenchError, Process
from tests.bench.progress import say
from tests.bench.waiting import until

ROW: Final = "recovery"
DEFINITION: Final = (
    "seconds from SIGKILL of one of two workers until every run that it worked on is leased by the other"
)
AIM_S: Final = 10.0
_POLL_S: Final = 0.05
_S_MAX: Final = 60.0
_BEHAVIOUR: Final = {"stages": {"meeting_overseer_extract": {"phang": 1.0}}}
_WAITING: Final = "SELECT count(*) FROM model_call WHERE stage = 'meeting_overseer_extract' AND status = 'started'"
_OWNED: Final = "SELECT id FROM draft_pipeline_run WHERE status = 'RUNNING' AND lease_owner LIKE $1"
_TAKEN: Final = """
SELECT count(*) FROM draft_pipeline_run
WHERE id = ANY ($1) AND NOT lease_owner LIKE $2 AND lease_until > now()
"""
_END: Final = "UPDATE draft_pipeline_run SET superseded_at = now() WHERE status = 'RUNNING'"
_RUNNING: Final = "SELECT count(*) FROM draft_pipeline_run WHERE status = 'RUNNING'"


@dataclass(frozen=True)
class Size:
    leads: int
    rounds: int


FULL: Final = Size(leads=60, rounds=4)
QUICK: Final = Size(leads=20, rounds=1)


@dataclass(frozen=True)
class Takeover:
    """Seconds until the first and the last of `runs` were worked on again."""

    first_s: float
    last_s: float
    runs: int

    def __str__(self) -> str:
        return f"{self.runs} runs, the first after {self.first_s:.1f} s, all after {self.last_s:.1f} s"


async def measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    found: list[Takeover] = []
    async with arena() as place:
        place.stack.model.behave(_BEHAVIOUR)
        survivor = await place.worker()
        for number in range(size.rounds):
            victim = await place.worker()
            found.append(await _takeover(place, victim, size))
            say(f"  round {number + 1}: {found[-1]}")
        survivor.cpu_s()  # raises when the survivor died as well
    return [_figure(found)]


async def _takeover(place: Arena, victim: Process, size: Size) -> Takeover:
    """Let both work on leads whose model call hangs, kill one, wait for the other."""
    await place.produce(place.messages(size.leads, SCHEDULING))

    async def all_wait() -> bool:
        return bool(await place.pool.fetchval(_WAITING) == size.leads)

    await until(all_wait, _S_MAX, "not all leads wait for their call")
    whose = f"%-{victim.pid}-%"
    runs = [row["id"] for row in await place.pool.fetch(_OWNED, whose)]
    if not 0 < len(runs) < size.leads:
        raise BenchError(f"the two workers do not share: one has {len(runs)} of {size.leads} runs")
    killed = time.monotonic()
    await victim.kill()

    async def taken(count: int) -> bool:
        return bool(await place.pool.fetchval(_TAKEN, runs, whose) >= count)

    first = await until(lambda: taken(1), _S_MAX, "no run was taken over", poll_s=_POLL_S) - killed
    last = await until(lambda: taken(len(runs)), _S_MAX, "not all runs were taken over", poll_s=_POLL_S) - killed
    await _end_all(place)
    return Takeover(first, last, len(runs))


async def _end_all(place: Arena) -> None:
    """Supersede what hangs, so that the next round begins with nothing."""
    await place.pool.execute(_END)

    async def none() -> bool:
        return bool(await place.pool.fetchval(_RUNNING) == 0)

    await until(none, _S_MAX, "superseded runs did not end")
    await place.pool.execute("UPDATE model_call SET status = 'failed', finished_at = now() WHERE status = 'started'")


def _figure(found: list[Takeover]) -> Figure:
    return Figure(
        row=ROW,
        name="recovery",
        definition=DEFINITION,
        value=statistics.median(each.last_s for each in found),
        unit="s",
        aim=AIM_S,
        at_most=True,
        sides={
            "longest s": max(each.last_s for each in found),
            "first run taken over, median s": statistics.median(each.first_s for each in found),
            "kills": float(len(found)),
            "runs taken over": float(sum(each.runs for each in found)),
        },
        note="their model calls hang meanwhile; the lease is 8 s, the Kafka session 6 s.",
    )
