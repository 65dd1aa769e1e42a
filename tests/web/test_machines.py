"""Promises to other systems: scheduled jobs, provisioning and metrics, each behind a secret of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx2
import pytest

from app.kafka.topics import create_topics
from app.metrics.exporter import Exporter
from app.stack.local import LocalStack
from app.web.scheduled import JOBS
from app.web.server import create_app
from db.pool import connect
from schemas.codes import Role
from tests.conftest import administer
from tests.db.past import past_runs
from tests.roles import grant, make_roles
from tests.web.conftest import Site, config_for

CRON, PROVISIONING = "cron-secret-of-the-tests", "provisioning-secret-of-the-tests"
NAME = "machines"


@dataclass
class Machines:
    """The application as the database role that is shipped for it, and a connection that may look at everything."""

    client: httpx2.AsyncClient
    db: asyncpg.Connection

    async def cron(self, job: str, secret: str | None = CRON) -> httpx2.Response:
        return await self.client.post(f"/api/cron/{job}", headers=bearer(secret))

    async def provision(self, body: Any, secret: str | None = PROVISIONING) -> httpx2.Response:
        return await self.client.post("/api/workspaces", json=body, headers=bearer(secret))


def bearer(secret: str | None) -> dict[str, str]:
    return {} if secret is None else {"authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
async def machines(stack: LocalStack, template_database: str) -> AsyncIterator[Machines]:
    await administer(stack, f"CREATE DATABASE {NAME} TEMPLATE {template_database}")
    url = stack.postgres.url_of(NAME)
    roles = await make_roles(url)
    await grant(url)
    config = config_for(stack, roles["web"], CRON_SECRET=CRON, WORKSPACE_PROVISIONING_SECRET=PROVISIONING)
    await create_topics(config, 1)
    app = create_app(config)
    connection = await connect(url)
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.9", 4711), raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://console.test") as client,
    ):
        yield Machines(client, connection)
    await connection.close()
    await administer(stack, f"DROP DATABASE {NAME} WITH (FORCE)")


# ---- who may


@pytest.mark.parametrize("secret", [None, "", "wrong", PROVISIONING, CRON[:-1], f"{CRON} "[::-1]])
async def test_a_job_wants_its_own_secret(machines: Machines, secret: str | None) -> None:
    """Nothing, another one's, or nearly the right one: 401, and nothing is run."""
    assert (await machines.cron("sweep", secret)).status_code == 401


@pytest.mark.parametrize("secret", [None, "", CRON])
async def test_provisioning_wants_its_own_secret(machines: Machines, secret: str | None) -> None:
    """The secret of the jobs opens it as little as none at all."""
    assert (await machines.provision({"workspace_id": "ws-x"}, secret)).status_code == 401


async def test_what_has_no_secret_here_does_not_exist(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CRON_SECRET and WORKSPACE_PROVISIONING_SECRET both answer 404, whatever is sent."""
    without = {"cron_secret": None, "workspace_provisioning_secret": None}
    monkeypatch.setattr(site.web, "config", site.web.config.model_copy(update=without))
    async with site.visitor(authorization="Bearer ") as client:
        assert (await client.post("/api/cron/sweep")).status_code == 404
        assert (await client.post("/api/workspaces", json={"workspace_id": "ws"})).status_code == 404


async def test_an_unknown_job_is_404_and_names_those_there_are(machines: Machines) -> None:
    """For the person who wrote the schedule."""
    answer = await machines.cron("reboot")
    assert answer.status_code == 404
    assert all(name in answer.text for name in JOBS)


# ---- jobs


async def test_a_sweep_publishes_what_nobody_published_once(machines: Machines) -> None:
    """An event that a crash left reaches its topic by the first call; the second finds nothing."""
    await machines.db.execute(
        "INSERT INTO outbox (event_id, topic, key, value, created_at) VALUES"
        " (gen_random_uuid(), 'dead-letter', 'k', '{}', now() - interval '1 hour')"
    )
    first, second = await machines.cron("sweep"), await machines.cron("sweep")
    assert (first.status_code, first.json()["events_published"]) == (200, 1)
    assert (second.status_code, second.json()["events_published"]) == (200, 0)
    assert not await machines.db.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")


async def test_due_sends_without_a_worker_are_bad_news(machines: Machines) -> None:
    """Nothing due: 200. Something has been due for long and nobody lives to send it: 503 with the reasons."""
    quiet = await machines.cron("scheduled-sends")
    assert (quiet.status_code, quiet.json()["due"], quiet.json()["problems"]) == (200, 0, [])
    await machines.db.execute("""
        INSERT INTO workspace (id) VALUES ('ws-due');
        INSERT INTO workspace_settings (workspace_id) VALUES ('ws-due');
        INSERT INTO lead (workspace_id, lead_id) VALUES ('ws-due', 'ann');
        INSERT INTO ai_draft (id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, mode, channel)
        VALUES ('10000000-0000-0000-0000-000000000001', 'ws-due', 'ann', 'm', 1, 'AI_AUTO_SEND', 'chat');
        INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, automatic, content,
                              content_sha256, scheduled_for)
        VALUES (gen_random_uuid(), '10000000-0000-0000-0000-000000000001', 'ws-due', 'ann', 'm', 'chat', true, 'x', 'x',
                now() - interval '1 hour')""")
    answer = await machines.cron("scheduled-sends")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["overdue", "no_worker"]
    assert answer.json()["overdue_s"] >= 3600
    await machines.db.execute("DELETE FROM workspace WHERE id = 'ws-due'")


async def test_pruning_and_drift_find_nothing_in_a_young_database(machines: Machines) -> None:
    """Both tell what they did, in figures; a second call does as little."""
    for _ in range(2):
        pruned, drift = await machines.cron("prune"), await machines.cron("drift")
        assert (pruned.status_code, pruned.json()["complete"], pruned.json()["runs"]) == (200, True, 0)
        assert (drift.status_code, drift.json()["drifted"]) == (200, [])


async def drifted(connection: asyncpg.Connection, workspace: str) -> None:
    """Drafts of a week, and of the last hours with another confidence."""
    await past_runs(connection, 1, 40, "3 days", workspace)
    await past_runs(connection, 41, 80, "2 hours", workspace)
    await connection.execute(
        "UPDATE ai_draft SET auto_send_original_confidence = 0.4 WHERE workspace_id = $1 AND trigger_ingest_seq > 40",
        workspace,
    )


async def test_a_drift_is_bad_news(machines: Machines) -> None:
    """503, with workspace, monitor and both values."""
    await drifted(machines.db, "ws-drifts")
    answer = await machines.cron("drift")
    assert answer.status_code == 503
    [found] = answer.json()["drifted"]
    assert (found["workspace_id"], found["monitor"]) == ("ws-drifts", "confidence")
    assert (found["recent_value"], found["baseline_value"]) == (pytest.approx(0.4), pytest.approx(0.95))
    await machines.db.execute("DELETE FROM workspace WHERE id = 'ws-drifts'")


async def test_drift_is_a_metric_without_any_job(site: Site) -> None:
    """Alerts must not wait for a scheduler: what reads the other gauges reads it too, and forgets what is over."""
    async with site.program(Role.OPS) as ops:
        for begin, told in ((drifted(site.db, "ws-drifts"), "1.0"), (_nothing(site.db), "0.0")):
            await begin
            reading = asyncio.create_task(Exporter(site.web.pool, site.web.lag, site.web.metrics).run())
            line = f'draft_pipeline_drifted_workspaces{{monitor="confidence"}} {told}'
            async with asyncio.timeout(10):
                while line not in (await ops.get("/metrics")).text:  # noqa: ASYNC110 - a metric is no event
                    await asyncio.sleep(0.05)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    await site.db.execute("DELETE FROM workspace WHERE id = 'ws-drifts'")


async def _nothing(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "UPDATE ai_draft SET auto_send_original_confidence = 0.95 WHERE workspace_id = 'ws-drifts'"
    )


# ---- provisioning


async def test_a_workspace_is_made_once_and_audited(machines: Machines) -> None:
    """201 with what was set, 200 and nothing changed for the same again; every field has its audit row."""
    body = {
        "workspace_id": "ws-new",
        "name": "New",
        "default_mode": "DRAFT_ONLY",
        "campaigns": [{"campaign_id": "spring", "name": "Spring", "mode": "OFF"}],
    }
    first, second = await machines.provision(body), await machines.provision(body)
    assert (first.status_code, first.json()["created"]) == (201, True)
    assert set(first.json()["changed"]) == {"name", "campaign:spring:name", "campaign:spring:mode"}
    assert (second.status_code, second.json()) == (
        200, {"workspace_id": "ws-new", "created": False, "changed": [], "kept": []},
    )  # fmt: skip
    audited = await machines.db.fetch("SELECT subject, via FROM admin_audit WHERE workspace_id = 'ws-new'")
    assert {row["via"] for row in audited} == {"provisioning"}
    assert {row["subject"] for row in audited} == {"workspace", "name", "campaign:spring:name", "campaign:spring:mode"}
    settings = await machines.db.fetchrow("SELECT * FROM workspace_settings WHERE workspace_id = 'ws-new'")
    assert settings is not None
    assert settings["auto_send_revision_enabled"] is False


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"threshold": 0.1}, "threshold"),
        ({"booking_threshold": 0.1}, "booking_threshold"),
        ({"auto_send_revision_enabled": True}, "auto_send_revision_enabled"),
        ({"settings": {"lead_context_bundle_enabled": True}}, "settings.lead_context_bundle_enabled"),
        ({"settings": {}}, "settings"),
        ({"channels": {}}, "channels"),
        ({"monthly_budget_usd": 5}, "monthly_budget_usd"),
        ({"campaigns": [{"campaign_id": "c", "mode": "OFF", "instructions": "x"}]}, "campaigns[0].instructions"),
    ],
)
async def test_what_decides_about_sending_needs_a_super_admin(
    machines: Machines, more: dict[str, Any], field: str
) -> None:
    """403 names the field, and nothing of the document is done."""
    answer = await machines.provision({"workspace_id": "ws-refused", "name": "x"} | more)
    assert (answer.status_code, answer.json()["field"]) == (403, field)
    assert not await machines.db.fetchval("SELECT count(*) FROM workspace WHERE id = 'ws-refused'")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"workspace_id": ""}, "workspace_id"),
        ({"name": "x"}, "workspace_id"),
        ({"workspace_id": "w", "colour": "red"}, "colour"),
        ({"workspace_id": "w", "default_mode": "SOMETIMES"}, "default_mode"),
        ({"workspace_id": "w", "campaigns": [{"campaign_id": "c"}]}, "campaigns.0.mode"),
        ({"workspace_id": "w", "campaigns": "none"}, "campaigns"),
        ([{"workspace_id": "w"}], "object"),
        ("w", "object"),
    ],
)
async def test_a_body_that_is_none_is_told_by_field(machines: Machines, body: Any, word: str) -> None:
    """422 with the place of the first mistake; no value is repeated."""
    answer = await machines.provision(body)
    assert answer.status_code == 422
    assert word in answer.json()["error"]
    assert "SOMETIMES" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 422), (b"\xff", 422), (b"[" * 5000, 422), (b" " * 300_000, 413), (b"", 422)]
)
async def test_hostile_bytes_are_refused(machines: Machines, body: bytes, status: int) -> None:
    """Neither depth nor size nor encoding brings it down."""
    answer = await machines.client.post("/api/workspaces", content=body, headers=bearer(PROVISIONING))
    assert answer.status_code == status


async def test_what_a_person_changed_since_is_kept(machines: Machines) -> None:
    """A mode that somebody set another way stays, and the answer says whose it is."""
    await machines.provision({"workspace_id": "ws-kept", "default_mode": "AI_AUTO_SEND"})
    await machines.db.execute("UPDATE workspace SET default_mode = 'OFF' WHERE id = 'ws-kept'")
    await machines.db.execute(
        "INSERT INTO admin_audit (actor, via, action, workspace_id, subject) VALUES ('ann', 'web', 'set', 'ws-kept',"
        " 'default_mode')"
    )
    answer = await machines.provision({"workspace_id": "ws-kept", "default_mode": "AI_AUTO_SEND"})
    assert answer.json()["kept"] == [{"field": "default_mode", "set_by": "ann via web"}]
    assert await machines.db.fetchval("SELECT default_mode FROM workspace WHERE id = 'ws-kept'") == "OFF"


# ---- metrics


async def test_metrics_are_for_ops_with_a_token(site: Site) -> None:
    """Nobody without a token, no browser's session, no other role; ops read Prometheus' text format."""
    async with site.visitor() as nobody, site.program(Role.REVIEWER) as reviewer, site.program(Role.OPS) as ops:
        assert (await nobody.get("/metrics")).status_code == 401
        assert (await reviewer.get("/metrics")).status_code == 403
        answer = await ops.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'draft_pipeline_process_info{role="web"' in answer.text


async def test_requests_are_timed_by_route_not_by_path(site: Site) -> None:
    """An id in a path is no label; what matches no route has none."""
    async with site.program(Role.OPS) as ops:
        await ops.get("/no/such/path-unheardof")
        await ops.get("/live")
        text = (await ops.get("/metrics")).text
    assert 'draft_pipeline_http_request_duration_seconds_count{method="GET",route="/live",status="200"}' in text
    assert 'route="(none)",status="404"' in text
    assert "unheardof" not in text
