"""Workers killed at every named point, frozen, and stopped: somebody else goes on, and nothing is done twice."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import agents
import app
from app.orphans import event_behind
from tests.story.audit import audit, only
from tests.story.harness import Pipeline, frozen, pipeline
from tests.story.rows import Workspace, row
from tests.story.takeover import TAKEOVER_S_MAX, watch
from tests.story.worker import Worker

POINTS = (
    "run.created",
    "call.recorded",
    "call.answered",
    "call.settled",
    "evaluation.recorded",
    "claim.revision.before_commit",
    "claim.revision.committed",
    "revision.settled",
    "decision.recorded",
    "claim.delivery.before_commit",
    "claim.delivery.committed",
    "delivery.called",
    "delivery.settled",
    "slot.held",
)
INGEST_POINTS = ("ingest.before_commit", "ingest.committed")
WORKSPACE = "ws-crash"
HEAL_S_MAX = 60.0
FIRST_SLOT = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
DOOMED_AT_A_TIME = 3  # on two cores
_POINT = re.compile(r'crash_point\(f?"([a-z_.{}]+)"')


@pytest.fixture(scope="module")
async def crashes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """One worker that survives."""
    workspaces = [Workspace(WORKSPACE, settings={"quiet_window_s": 0.2})]
    async with pipeline(tmp_path_factory.mktemp("crashes"), workers=1, workspaces=workspaces) as running:
        running.stack.model.behave({"default": {"latency_ms": 100}})
        await running.db.execute(
            "INSERT INTO availability_slot (workspace_id, starts_at, ends_at)"
            " SELECT $1, $2::timestamptz + n * interval '1 hour', $2::timestamptz + n * interval '1 hour' + interval '30 min'"
            " FROM generate_series(0, 999) n",
            WORKSPACE,
            FIRST_SLOT,
        )
        yield running


def test_every_crash_point_in_the_code_is_killed_at_here() -> None:
    """Whoever adds a point is told to add its story."""
    found: set[str] = set()
    for package in (agents, app):
        for file in Path(str(package.__file__)).parent.rglob("*.py"):
            for point in _POINT.findall(file.read_text()):
                found |= {point.format(purpose=purpose) for purpose in ("revision", "delivery")}
    assert found == {*INGEST_POINTS, *POINTS}


@pytest.mark.alone
async def test_the_other_worker_has_a_dead_ones_runs_within_ten_seconds(crashes: Pipeline) -> None:
    """One of two workers is killed in the middle of its model calls: all of its runs are in the other's hands in time."""
    doomed = await _amid_calls(crashes, 10_000)
    await doomed.kill()
    await _taken_over_in_time(crashes, doomed)
    await crashes.idle(HEAL_S_MAX)


@pytest.mark.alone
async def test_a_dead_workers_runs_are_taken_over_without_the_broker(crashes: Pipeline) -> None:
    """The broker hangs when the worker dies, so nothing is redelivered: the other one finds the runs by their leases."""
    doomed = await _amid_calls(crashes, 20_000)
    with frozen(crashes.stack):
        await doomed.kill()
        await _taken_over_in_time(crashes, doomed)
    await crashes.idle(HEAL_S_MAX)
    evidence = await audit(crashes, floor={"accepted": 20})
    written = {(event["topic"], event["event_id"]) for event in evidence.tables["outbox"]}
    for run in only(evidence, "draft_pipeline_run", status="COMPLETED"):
        assert {event_behind({**run, "phase": phase}) for phase in ("draft", "revise", "dispatch")} <= written


async def _amid_calls(crashes: Pipeline, first: int) -> Worker:
    """A second worker that waits for the model, with several runs in hand."""
    [doomed] = await crashes.start(1)
    crashes.stack.model.behave({"default": {"latency_ms": 3_000}})
    await crashes.produce([_message(first + number) for number in range(40)])
    await crashes.until(lambda: _holds(crashes, doomed, 5), 30, "the second worker has runs in hand")
    return doomed


async def _taken_over_in_time(crashes: Pipeline, doomed: Worker) -> None:
    takeover = await watch(crashes, doomed)
    print(takeover)
    crashes.stack.model.behave({"default": {"latency_ms": 100}})
    assert takeover.runs >= 5
    assert takeover.last_s <= TAKEOVER_S_MAX, str(takeover)


async def _holds(crashes: Pipeline, worker: Worker, runs: int) -> bool:
    held: int = await crashes.db.fetchval(
        "SELECT count(*) FROM draft_pipeline_run WHERE lease_owner = $1 AND status = 'RUNNING'", worker.process_id
    )
    return held >= runs


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_worker_that_dies_at_any_point_is_taken_over(crashes: Pipeline) -> None:
    """Each point kills a worker, several live at a time: what each held is in other hands within 45 s, and soon after all is
    healed, and nothing is doubled or lost. (How fast one death is taken over is the test above.)"""
    places = asyncio.Semaphore(DOOMED_AT_A_TIME)
    dying = asyncio.gather(*(_die_at(crashes, point, places) for point in POINTS))
    produced = 0
    while not dying.done():
        await crashes.produce([_message(produced + number) for number in range(6)])
        produced += 6
        await asyncio.wait((dying,), timeout=1.0)
    print(*dying.result(), sep="\n")
    await crashes.idle(HEAL_S_MAX + 30)
    await audit(crashes, floor={"accepted": produced // 2, "revision:applied": 5, "booking:confirmed": 5})


async def _die_at(crashes: Pipeline, point: str, places: asyncio.Semaphore) -> str:
    async with places:
        worker = crashes.launch(DRAFT_PIPELINE_CRASH_AT=f"{point}:2")
        await worker.gone(120)
    assert worker.returncode == -signal.SIGKILL, point
    return f"{point}: {await watch(crashes, worker)}"


def _message(number: int) -> dict[str, object]:
    """Every third accepts a time: of two such leads the same one, until it is taken."""
    if number % 3 == 0:
        time = (FIRST_SLOT + number // 6 * timedelta(hours=1)).isoformat()
        return row(WORKSPACE, f"lead{number}", f"!!confident please schedule a call at {time}")
    return row(WORKSPACE, f"lead{number}", "!!near hello" if number % 2 else "!!confident hello")


@pytest.mark.parametrize("point", INGEST_POINTS)
async def test_an_ingest_process_that_dies_is_started_again(crashes: Pipeline, point: str) -> None:
    """Killed before or after its commit: the worker lives on, its ingest comes back, each record is stored once."""
    [worker] = await crashes.start(1, DRAFT_PIPELINE_CRASH_AT=f"{point}:1")
    produced = 0

    async def died() -> bool:
        """Records come until it has its share of the partitions: before, the other worker's ingest takes them all."""
        nonlocal produced
        await crashes.produce([row(WORKSPACE, f"{point}{produced + n}", "!!confident hello") for n in range(2)])
        produced += 2
        return b"ingest_process_died" in worker.log.read_bytes()

    await crashes.until(died, 40, "the ingest process died")
    await crashes.idle(60)
    assert worker.alive
    evidence = await audit(crashes, floor={"accepted": produced})
    assert sum(each["lead_id"].startswith(point) for each in only(evidence, "ai_draft", status="sent")) == produced
    assert await worker.terminate() == 0


async def test_a_frozen_worker_that_wakes_up_does_nothing_twice(crashes: Pipeline) -> None:
    """SIGSTOP amid revisions until another has taken over, then SIGCONT: what the zombie still writes is refused."""
    crashes.stack.model.behave({"default": {"latency_ms": 700}})
    [zombie] = await crashes.start(1)
    await crashes.produce([row(WORKSPACE, f"frozen{number}", "!!near hello") for number in range(40)])
    await crashes.until_row(
        "SELECT 1 FROM draft_pipeline_run r JOIN draft_claim c ON c.draft_id = r.draft_id"
        " WHERE r.lease_owner = $1 AND r.status = 'RUNNING' AND c.settled_at IS NULL",
        zombie.process_id,
    )
    zombie.send_signal(signal.SIGSTOP)
    zombie.ended_at = time.monotonic()
    taken = await watch(crashes, zombie)
    zombie.send_signal(signal.SIGCONT)
    crashes.stack.model.behave({"default": {"latency_ms": 100}})
    await crashes.idle(90)
    assert taken.runs > 0
    assert zombie.alive
    await audit(crashes, floor={"revision:applied": 30})
    assert await zombie.terminate() == 0


async def test_a_worker_that_is_told_to_stop_hands_over_without_asking_twice(crashes: Pipeline) -> None:
    """SIGTERM amid calls: they are finished and recorded, the other worker goes on behind them, exit code 0. A call that
    was recorded ahead and not made is settled as such, so that it uses up no attempt."""
    crashes.stack.model.behave({"default": {"latency_ms": 1500}})
    [leaving] = await crashes.start(1)
    await crashes.produce([row(WORKSPACE, f"leaving{number}", "!!near hello") for number in range(30)])
    await crashes.until_row(
        "SELECT 1 FROM draft_pipeline_run WHERE lease_owner = $1 AND status = 'RUNNING'", leaving.process_id
    )
    began = time.monotonic()
    assert await leaving.terminate() == 0
    assert time.monotonic() - began < 15
    crashes.stack.model.behave(None)
    await crashes.idle(60)
    evidence = await audit(crashes, floor={"accepted": 20})
    leads = {key for key, run in evidence.runs.items() if run["lead_id"].startswith("leaving")}
    asked = [(line["run_id"], line["stage"], line["iteration"]) for line in evidence.model if line["run_id"] in leads]
    assert len(asked) == len(set(asked))
    assert len(asked) >= 30 * 4
    calls = [call for call in evidence.tables["model_call"] if str(call["run_id"]) in leads]
    assert any(call["failure"] == "not_made" for call in calls)
    assert not [call for call in calls if call["status"] == "started"]
