"""The chapter Rollout of RUNBOOK.md, played from the file itself: its commands, its queries, what it expects of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from app import __version__
from app.groups import CONSUMED
from tests.bench.cpu import family
from tests.runbook import Query, Section, section, typed
from tests.story.audit import audit
from tests.story.harness import Pipeline
from tests.story.rows import Workspace, row, value_of

CANARY, *OTHERS = ("ws-1", "ws-2", "ws-3")
EVERYBODY = [CANARY, *OTHERS]
RATE_PER_S = 12.0
SLACK = timedelta(seconds=2)  # what the queries of the file leave out after a lever
SEEN_MIN = 2
TRAFFIC_S_MAX = 20.0
CLAIMS = (
    "SELECT d.workspace_id, count(*) AS claims, count(DISTINCT c.draft_id) AS drafts"
    " FROM draft_claim c JOIN ai_draft d ON d.id = c.draft_id WHERE c.purpose = 'revision' GROUP BY 1"
)
NEAR_SINCE = "SELECT count(*) FROM ai_draft WHERE workspace_id = $1 AND coalesce(auto_send_original_confidence, auto_send_confidence) < 0.9 AND auto_send_evaluated_at > $2"

# What a lever forbids: when it was last begun.
REVISED = (
    "SELECT max(c.claimed_at) FROM draft_claim c JOIN ai_draft d ON d.id = c.draft_id"
    " WHERE c.purpose = 'revision' AND d.workspace_id = ANY ($1::text[])"
)
SENT = "SELECT max(claimed_at) FROM delivery WHERE automatic AND workspace_id = ANY ($1::text[])"
JUDGED_BY = (
    "SELECT max(created_at) FROM draft_pipeline_run WHERE workspace_id = ANY ($1::text[])"
    " AND policy_revision <> (SELECT max(revision) FROM confidence_policy_revision)"
)


@dataclass(frozen=True)
class Forbids:
    """What a lever forbids, and to whom."""

    query: str
    workspaces: list[str]


LEVERS = {
    "Lever 1: no revision at all": Forbids(REVISED, EVERYBODY),
    "Lever 2: no revision for one workspace": Forbids(REVISED, [CANARY]),
    "Lever 3: no automatic send at all": Forbids(SENT, EVERYBODY),
    "Lever 4: drafts only in one workspace": Forbids(SENT, [CANARY]),
    "Lever 5: the policy before": Forbids(JUDGED_BY, [CANARY]),
}


@dataclass
class Play:
    """Somebody with the runbook before them, at a system that works."""

    flow: Pipeline
    places: dict[str, str] = field(default_factory=lambda: {"VERSION": __version__})
    sent: int = 0

    async def type(self, block: str) -> datetime:
        """A block of the file, as it stands; when it had returned."""
        await typed(block, {**self.flow.stack.env, **self.places}, self.flow.stack.dir)
        return await self.clock()

    async def clock(self) -> datetime:
        """The database's time."""
        moment: datetime = await self.flow.db.fetchval("SELECT clock_timestamp()")
        return moment

    async def ask(self, query: Query) -> None:
        """A query gives what the file expects; what needs some traffic is waited for."""
        query = query.filled(self.places)

        async def holds() -> bool:
            return query.holds(await self.flow.db.fetchval(query.text))

        timeout = TRAFFIC_S_MAX if query.bound == "at least" else 0.0
        await self.flow.until(holds, timeout, f"{query.bound} {query.expected}: {query.text}")

    async def pass_by(self, since: datetime) -> None:
        """Wait until drafts that want a revision were judged in every workspace, after what the queries leave out."""

        async def enough() -> bool:
            seen = [await self.flow.db.fetchval(NEAR_SINCE, each, since + SLACK) for each in EVERYBODY]
            return all(count >= SEEN_MIN for count in seen)

        await self.flow.until(enough, TRAFFIC_S_MAX, "drafts judged in every workspace: not under load")

    async def play(self, part: Section, block: str) -> datetime:
        """Type a block, let traffic pass, ask what the section asks."""
        done = await self.type(block)
        await self.pass_by(done)
        for query in part.queries:
            if query.expected is not None:
                await self.ask(query)
        return done

    async def claims(self) -> dict[str, int]:
        """Revision claims by workspace; never two of one draft."""
        rows = await self.flow.db.fetch(CLAIMS)
        assert all(row["claims"] == row["drafts"] for row in rows)
        return {row["workspace_id"]: row["claims"] for row in rows}

    def processes(self) -> set[int]:
        """Every worker with its ingest process."""
        return {process for worker in self.flow.alive for process in family(worker.pid)}


@asynccontextmanager
async def load(play: Play) -> AsyncIterator[None]:
    """A steady trickle for all workspaces: half is confident, half needs a revision."""

    async def forever() -> None:
        while True:
            mark = "!!near" if play.sent // len(EVERYBODY) % 2 else "!!confident"
            workspace = EVERYBODY[play.sent % len(EVERYBODY)]
            await play.flow.produce([row(workspace, f"lead-{play.sent}", f"{mark} hello")])
            play.sent += 1
            await asyncio.sleep(1 / RATE_PER_S)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        assert not task.done() or task.exception() is None
        task.cancel()


async def policies(play: Play) -> None:
    """The canary's policy was changed some time ago, and again just now."""
    for name, threshold in (("REVISION", 0.9), ("LATER", 0.91)):
        await play.type(
            f'draft-pipeline policy apply --workspace {CANARY} --threshold {threshold} --reason "before the story"'
        )
        play.places[name] = str(await play.flow.db.fetchval("SELECT max(revision) FROM confidence_policy_revision"))


async def roll_out(play: Play) -> None:
    """The steps: who is revised after each of them."""
    revised: dict[str, set[str]] = {"1": set(), "2": set(), "3": set(), "4": {CANARY}, "5": {CANARY}}
    for step in section("Steps").parts:
        await play.play(step, "\n".join(step.shells))
        assert set(await play.claims()) == revised.get(step.heading[0], set(EVERYBODY)), step.heading
    assert step.heading == "6. Widen"


async def roll_back(play: Play) -> dict[str, float]:
    """Each lever and its undo; seconds from its return to the last thing it forbids."""
    took = {}
    levers = {part.heading: part for part in section("Rollback levers, in order").parts}
    restarting = levers.pop("Lever 6: the version before")
    assert levers.keys() == LEVERS.keys()
    for heading, forbids in LEVERS.items():
        act, undo = levers[heading].shells
        done = await play.play(levers[heading], act)
        last = await play.flow.db.fetchval(forbids.query, forbids.workspaces)
        took[heading] = (last - done).total_seconds()
        undone = await play.type(undo)

        async def again(forbids: Forbids = forbids, undone: datetime = undone) -> bool:
            found = [await play.flow.db.fetchval(forbids.query, [each]) for each in forbids.workspaces]
            return all(each is not None and each > undone for each in found)

        if forbids.query != JUDGED_BY:
            await play.flow.until(again, TRAFFIC_S_MAX, f"{heading}: undone, and nothing begins again")
    for query in restarting.queries:
        await play.ask(query)
    return took


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_the_rollout_and_each_lever_do_what_the_runbook_says(well_behaved: Pipeline) -> None:
    """Off, smoke, on, one workspace, widen, back by each lever: only who was asked for is revised, at most once a draft,
    and no process is restarted for it."""
    play = Play(well_behaved)
    play.flow.stack.model.behave({"default": {"latency_ms": 20, "latency_ms_max": 60}})
    settings = {"auto_send_revision_enabled": False, "quiet_window_s": 0.0}
    await play.flow.provision([Workspace(each, settings=settings) for each in EVERYBODY])
    off = "UPDATE workspace_settings SET auto_send_revision_enabled = false WHERE workspace_id = 'ws-insurance'"
    await play.flow.db.execute(off)
    processes = play.processes()
    async with load(play):
        await policies(play)
        await roll_out(play)
        took = await roll_back(play)
        assert play.processes() == processes, "a process was restarted"
    await play.flow.idle()
    print({heading: f"{seconds:+.2f} s" for heading, seconds in took.items()}, f"{play.sent} messages")
    assert max(took.values()) <= 0.0, took
    assert len(processes) == 2 * len(play.flow.workers)
    for query in section("Check them in production").queries:
        assert await play.flow.db.fetchval(query.text) == 0, query.text
    assert set(await play.claims()) == set(EVERYBODY)
    await audit(play.flow, floor={"accepted": 50, "revision:applied": 20})


@pytest.mark.long
async def test_new_partitions_are_worked_on_after_a_restart(well_behaved: Pipeline) -> None:
    """The runbook's way beyond twelve workers: a record on the last new partition goes through all topics, nothing is
    lost."""
    flow = well_behaved
    servers, more = flow.stack.kafka.bootstrap, CONSUMED[0].partitions + 2
    await flow.provision([Workspace("ws-more", settings={"quiet_window_s": 0.0})])
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_partitions({topic.name: NewPartitions(more) for topic in CONSUMED})
    await admin.close()
    await flow.stop_workers()
    await flow.start()
    message = value_of(row("ws-more", "lea", "!!near hello"))
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        await producer.send_and_wait("inbound-message", message, partition=more - 1)
    await flow.until_row("SELECT 1 FROM ai_draft WHERE workspace_id = 'ws-more' AND status = 'sent'")
    await flow.idle()
    await audit(flow, floor={"accepted": 1})
