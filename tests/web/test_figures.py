"""Overview and AI Ops tell what stands in the tables, and say what is wrong."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.cli.switch import flip
from app.kafka.lagging import PartitionLag, watermarks_of
from app.web import lag_watch
from app.web.diagnosis import Facts, diagnose
from app.web.lag_watch import STALE_S, LagWatch, TopicLag
from app.web.marks import marks_since
from schemas.codes import FEATURE_ID, Role, Stage
from tests.web.conftest import Site
from tests.web.seeding import OTHER, OWN, insert

WORKER = {"process_id": "w-1", "role": "worker", "silent_s": 1.0, "switches": {}, "figures": {}}
TOPIC = TopicLag("draft-requested", "g", "Stable", 1, 12, 0, 0.0, 0.0, 0.0, 0.0)
QUIET: dict[str, Any] = {"quiet": 0, "due": 0, "due_s": None, "events": 0, "events_s": None}
WELL = Facts(
    processes=[WORKER], topics=[TOPIC], outbox=QUIET, left_behind={"claims": 0, "sends": 0, "runs": 0}, dead_letters=0,
    unknown=0, calls=100, call_errors=2, runs_ended=50, runs_failed=0,
)  # fmt: skip


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    """A quiet system has no findings."""
    assert diagnose(WELL) == []


@pytest.mark.parametrize(
    ("changed", "code", "kind"),
    [
        ({"processes": []}, "no_worker", "bad"),
        ({"processes": [{**WORKER, "silent_s": 60.0}]}, "no_worker", "bad"),
        ({"processes": [{**WORKER, "figures": {"paused": ["draft-requested"]}}]}, "paused", "bad"),
        ({"processes": [{**WORKER, "figures": {"breakers": {"gpt-5.2": "open"}}}]}, "breaker_open", "warn"),
        ({"topics": None}, "broker_away", "bad"),
        ({"topics": [replace(TOPIC, lag=5, members=0)]}, "no_member", "bad"),
        ({"topics": [replace(TOPIC, lag=5, age_s=400.0)]}, "lag", "warn"),
        ({"outbox": {**QUIET, "events": 3, "events_s": 90.0}}, "outbox", "bad"),
        ({"outbox": {**QUIET, "due": 3, "due_s": 90.0}}, "waiting", "warn"),
        ({"left_behind": {"claims": 1, "sends": 0, "runs": 0}}, "unowned_claims", "bad"),
        ({"unknown": 1}, "unknown", "warn"),
        ({"dead_letters": 2}, "dead_letters", "warn"),
        ({"call_errors": 20}, "model_errors", "warn"),
        ({"runs_failed": 5}, "runs_failed", "warn"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_each_thing_that_is_wrong_is_found_by_itself(changed: dict[str, Any], code: str, kind: str) -> None:
    """With a heading of the runbook that says what to do."""
    [finding] = diagnose(replace(WELL, **changed))
    assert (finding.code, finding.kind) == (code, kind)
    assert finding.runbook


async def test_every_finding_leads_to_a_heading_of_the_runbook() -> None:
    """The runbook has the heading that each finding names."""
    runbook = (Path(__file__).parents[2] / "RUNBOOK.md").read_text()
    anchors = {
        line.lstrip("# ").lower().replace(",", "").replace(" ", "-")
        for line in runbook.splitlines()
        if line.startswith("#")
    }
    worst = replace(
        WELL, processes=[{**WORKER, "figures": {"paused": ["t"], "breakers": {"m": "open"}}}], outbox={**QUIET, "events": 1, "events_s": 99, "due": 1, "due_s": 99},
        topics=[replace(TOPIC, lag=1, members=0)], left_behind={"claims": 1, "sends": 1, "runs": 1}, dead_letters=1, unknown=1, call_errors=50, runs_failed=50,
    )  # fmt: skip
    found = diagnose(worst) + diagnose(replace(WELL, processes=[], topics=None))
    assert {each.runbook for each in found} <= anchors


async def test_the_overview_counts_what_is_there(site: Site) -> None:
    """Of all for who sees all; of one workspace for who has one, without the machine."""
    async with site.program(Role.OPS) as ops, site.program(Role.WORKSPACE_ADMIN, OWN) as admin:
        every = (await ops.get("/api/overview")).json()
        own = (await admin.get("/api/overview")).json()
    waiting = {each["state"]: each["drafts"] for each in every["waiting"]}
    assert waiting == {"pending": 0, "awaiting_review": 2, "scheduled": 0, "unknown": 0}
    assert (every["decided"]["24 h"]["attempted"], every["decided"]["7 d"]["applied"]) == (2, 2)
    assert every["cost"]["usd"] == pytest.approx(2 * len(Stage) * 0.002)
    stages = {each["stage"]: each for each in every["stages"]}
    assert set(stages) == {stage.value for stage in Stage}
    assert (stages["auto_send_revision_reviser"]["errors"], stages["draft_generation_step2"]["p50_ms"]) == (2, 450)

    assert {each["state"]: each["drafts"] for each in own["waiting"]}["awaiting_review"] == 1
    assert own["cost"]["usd"] == pytest.approx(len(Stage) * 0.002)
    assert {"machine", "answer"} & set(every) == {"machine", "answer"}
    assert "machine" not in own


async def test_the_overview_shows_processes_and_names_variables_without_values(site: Site) -> None:
    """The web process beats like the others; the database's address is nowhere."""
    async with site.program(Role.SUPER_ADMIN) as client:
        for _ in range(50):
            answer = await client.get("/api/overview")
            machine = answer.json()["machine"]
            if any(each["role"] == "web" for each in machine["processes"]):
                break
    assert any(each["role"] == "web" and each["alive"] for each in machine["processes"])
    assert "DATABASE_URL" in {each["name"] for each in machine["variables"]}
    assert site.url not in answer.text


async def test_ai_ops_has_errors_first(site: Site) -> None:
    """By feature id, the one with most errors on top; old ones are not in it."""
    await insert(
        site.db, "ai_interaction", id=uuid.uuid4(), workspace_id=OWN, feature_id="draft.ancient", source="pipeline",
        model="gpt-5.2", status="failed",
    )  # fmt: skip
    await site.db.execute(
        "UPDATE ai_interaction SET created_at = now() - interval '73 hours' WHERE feature_id = 'draft.ancient'"
    )
    async with site.program(Role.ANALYST) as client:
        told = (await client.get("/api/ai-ops")).json()
        one = (
            await client.get("/api/ai-ops", params={"workspace": OTHER, "model": "gpt-5.2", "source": "pipeline"})
        ).json()
        none = await client.get("/ai-ops", params={"model": "no-such-model"})
    assert told["features"][0]["feature_id"] == FEATURE_ID[Stage.REVISER]
    assert {each["feature_id"] for each in told["features"]} == set(FEATURE_ID.values())
    assert (told["features"][0]["errors"], told["features"][0]["calls"]) == (2, 2)
    assert one["total"]["calls"] == len(Stage)
    assert sum(each["calls"] for each in told["hours"]) == 2 * len(Stage)
    assert len(told["hours"]) == 72
    assert "none that fits the filters" in none.text


async def test_flips_and_new_versions_are_marked_on_the_curves(site: Site) -> None:
    """With a flag and its words, and beneath the drawing; only those of its time."""
    async with site.db.transaction():
        for disabled in (True, False):
            await flip(
                site.db, "AUTO_SEND_REVISION_DISABLED", disabled=disabled, reason="drill", actor="ann", via="test"
            )
    await insert(
        site.db, "process_heartbeat", process_id="w-new", role="worker", version="9.9.9", switches={}, figures={}
    )
    async with site.program(Role.ANALYST) as client:
        page = (await client.get("/ai-ops")).text
        told = (await client.get("/api/ai-ops")).json()["marks"]
    assert {"Revision off", "Revision on", "version 9.9.9 started"} <= {each["what"] for each in told}
    assert page.count('class="flag"') == len(told)
    assert "Flags: " in page
    later = await marks_since(site.web.pool, datetime.now(UTC))
    assert later == []
    await site.db.execute("DELETE FROM process_heartbeat WHERE process_id = 'w-new'")


# ---- lag


def lags(done: int, end: int, member: str = "w-1") -> list[PartitionLag]:
    return [PartitionLag("g", "draft-requested", 0, done, end, end - done, member, "Stable")]


def test_lag_is_told_in_records_in_seconds_and_until_it_is_drained(site: Site) -> None:
    """From readings: 100 records a second arrive, 150 are done, 300 wait."""
    watch = LagWatch(site.web.config, site.web.pool)
    assert watch.topics() == []
    watch.note(lags(0, 500), 1000.0)
    [first] = watch.topics()
    assert (first.lag, first.arriving, first.drained_in_s) == (500, None, None)
    watch.note(lags(1500, 1500), 1010.0)
    watch.note(lags(1700, 2000), 1015.0)
    [now] = watch.topics()
    assert (now.lag, now.members) == (300, 1)
    assert now.age_s == pytest.approx(3.0)
    assert now.arriving == pytest.approx(100.0)
    assert now.done == pytest.approx(1700 / 15)
    assert now.drained_in_s == pytest.approx(300 / (1700 / 15 - 100))


def test_lag_without_an_end_in_sight_is_said_so(site: Site) -> None:
    """More arrives than is done: no time is told."""
    watch = LagWatch(site.web.config, site.web.pool)
    watch.note(lags(0, 0), 0.0)
    watch.note(lags(10, 100), 10.0)
    [now] = watch.topics()
    assert (now.drains, now.drained_in_s) == (False, None)


def test_a_reading_that_is_too_old_is_none(site: Site) -> None:
    """What hangs tells nothing, so that alerts about missing data can fire."""
    now = [0.0]
    watch = LagWatch(site.web.config, site.web.pool, clock=lambda: now[0])
    watch.note(lags(0, 500), 1000.0)
    now[0] = STALE_S
    assert watch.topics()
    now[0] += 1.0
    assert (watch.latest, watch.topics(), watch.partitions()) == (None, [], [])


async def test_lag_is_read_on_after_an_error_that_nobody_expected(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but its end ends it; meanwhile no reading is told."""
    reads, real = [], watermarks_of

    async def broken_once(pool: Any) -> dict[int, int]:
        reads.append(pool)
        found = await real(pool)
        if len(reads) == 1:
            raise KeyError
        return found

    monkeypatch.setattr(lag_watch, "watermarks_of", broken_once)
    monkeypatch.setattr(lag_watch, "READ_S", 0.05)
    watch = LagWatch(site.web.config, site.web.pool)
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(20):
        while watch.latest is None:
            assert not task.done()
            await asyncio.sleep(0.01)
    assert len(reads) > 1
    task.cancel()


async def test_lag_is_read_from_the_broker(site: Site) -> None:
    """The web process reads every consumed topic there is; a broker that is away leaves nothing that looks like 0."""
    watch = LagWatch(site.web.config.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"}), site.web.pool)
    task = asyncio.create_task(watch.run())
    give_up = time.monotonic() + 20
    while watch.problem is None:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.05)
    task.cancel()
    assert watch.latest is None
    assert watch.topics() == []
