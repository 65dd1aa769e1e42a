"""Runs: found by what the URL asks for, page by page; one run tells what `explain` tells, with texts for readers only."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import httpx2
import pytest

from app.cli.explaining import explain_draft
from app.web import run_list
from app.web.rendering import plain
from schemas.codes import Role
from tests.web.conftest import Site, bound_to
from tests.web.seeding import OTHER, OWN, insert

MANY = "ws-many"
NOW = datetime.now(UTC)
TEXTS = ("body own-mark", "draft own-mark", "words of the model")


@pytest.fixture(scope="module", autouse=True)
async def many(site: Site) -> AsyncIterator[datetime]:
    """120 runs of one workspace, a minute apart: every tenth failed, the oldest one was sent."""
    now = datetime.now(UTC)
    await insert(site.db, "workspace", id=MANY)
    await insert(site.db, "lead", workspace_id=MANY, lead_id="lead-many")
    for number in range(120):
        run, draft = uuid.uuid4(), uuid.uuid4()
        failed = number % 10 == 0
        await insert(
            site.db, "draft_pipeline_run", id=run, workspace_id=MANY, lead_id="lead-many", trigger_message_id=f"m-{number}",
            draft_id=draft, channel="chat", status="FAILED" if failed else "COMPLETED", phase="done", reason="confident",
            policy_revision=1, lease_owner="w", lease_until=now, created_at=now - timedelta(minutes=number), finished_at=now,
        )  # fmt: skip
        await insert(
            site.db, "ai_draft", id=draft, run_id=run, workspace_id=MANY, lead_id="lead-many", trigger_message_id=f"m-{number}",
            trigger_ingest_seq=number, mode="AI_AUTO_SEND", channel="chat", status="sent" if number == 119 else "pending",
            auto_send_action="send_immediate" if number == 119 else "needs_review",
        )  # fmt: skip
    await insert(
        site.db, "draft_pipeline_artifact", id=uuid.uuid4(), run_id=site.seeded[OWN].run_id, stage="auto_send_evaluation",
        iteration=0, prompt_key="auto_send_evaluation@1", input_sha256="1" * 64, model="gpt-5.2",
        payload={"confidence": 0.84, "reasons": ["words of the model"], "categories": []},
    )  # fmt: skip
    yield now
    await site.db.execute("DELETE FROM workspace WHERE id = $1", MANY)


async def _list(site: Site, role: Role = Role.SUPER_ADMIN, path: str = "/api/runs", **filters: Any) -> dict[str, Any]:
    async with site.program(role, bound_to(role)) as client:
        answer = await client.get(path, params=filters or None)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_pages_show_every_run_once_in_order(site: Site) -> None:
    """The address of the next page stands in the page; the last page has none."""
    seen, told = [], await _list(site, workspace=MANY)
    while True:
        seen += told["runs"]
        if told["next"] is None:
            break
        told = await _list(site, path="/api" + told["next"])
    assert len({run["id"] for run in seen}) == len(seen) == 120
    assert [run["created_at"] for run in seen] == sorted((run["created_at"] for run in seen), reverse=True)


async def test_a_page_tells_how_many_of_each_status_there_are(site: Site, many: datetime) -> None:
    """Of the chosen workspace and time, whatever page it is."""
    assert (await _list(site, workspace=MANY))["counts"] == {"RUNNING": 0, "COMPLETED": 108, "FAILED": 12, "ABORTED": 0}
    recent = await _list(site, workspace=MANY, since=(many - timedelta(minutes=19.5)).isoformat())
    assert sum(recent["counts"].values()) == len(recent["runs"]) == 20


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"failed": "true"}, 12),
        ({"status": "FAILED"}, 12),
        ({"status": "RUNNING"}, 0),
        ({"outcome": "sent"}, 1),
        ({"decision": "send_immediate"}, 1),
        ({"decision": "send_immediate", "failed": "true"}, 0),
        ({"decision": "needs_review", "failed": "true"}, 12),
        ({"revision": "applied"}, 0),
        ({"id": "m-7"}, 1),
        ({"id": "lead-many", "within": "1h", "failed": "true"}, 6),
        ({"until": 99.5}, 20),
    ],
)
async def test_filters_narrow_the_list(site: Site, many: datetime, filters: dict[str, Any], found: int) -> None:
    """Alone and together; as form fields are sent, empty ones ask for nothing. `until` is told in minutes ago."""
    asked: dict[str, Any] = {"status": "", "outcome": "", "since": "", **filters}
    if "until" in filters:
        asked["until"] = (many - timedelta(minutes=filters["until"])).isoformat()
    told = await _list(site, workspace=MANY, **asked)
    assert len(told["runs"]) == found


async def test_a_rare_outcome_is_found_by_going_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page looks at a bounded number of runs, says how far it looked, and goes on from there."""
    monkeypatch.setattr(run_list, "RUNS_LOOKED_FIRST", 20)
    monkeypatch.setattr(run_list, "RUNS_LOOKED_AT_MAX", 60)
    first = await _list(site, workspace=MANY, outcome="sent")
    assert (first["runs"], first["looked_to"] is not None) == ([], True)
    second = await _list(site, path="/api" + first["next"])
    assert [run["outcome"] for run in second["runs"]] == ["sent"]


async def test_a_run_is_found_by_each_of_its_ids(site: Site) -> None:
    """Its own, its draft's, its message's, its lead's; a workspace's people find only their own."""
    own = site.seeded[OWN]
    for identity in (str(own.run_id), str(own.draft_id), "message-own-mark", "lead-own-mark"):
        assert [run["id"] for run in (await _list(site, id=identity))["runs"]] == [str(own.run_id)]
    assert (await _list(site, Role.OPS, id=str(site.seeded[OTHER].run_id)))["runs"] == []


async def test_a_message_without_a_run_tells_what_became_of_it(site: Site) -> None:
    """So that nobody searches for a run that never was."""
    await insert(
        site.db, "message", id=uuid.uuid4(), workspace_id=OWN, lead_id="lead-own-mark", channel="email", message_id="m-machine",
        direction="inbound", mode="AI_AUTO_SEND", body="", disposition="machine_mail", received_at=NOW,
    )  # fmt: skip
    told = await _list(site, Role.OPS, id="m-machine")
    assert [each["disposition"] for each in told["messages"]] == ["machine_mail"]


async def test_filters_that_make_no_sense_are_named(site: Site) -> None:
    """422, and what was meant; never an empty list that looks like an answer."""
    async with site.program(Role.SUPER_ADMIN) as client:
        for filters in ({"status": "DONE"}, {"outcome": "gone"}, {"since": "yesterday"}, {"before": "x"}):
            answer = await client.get("/api/runs", params=filters)
            assert answer.status_code == 422
            assert next(iter(filters)) in answer.text or "time" in answer.text


# ---- one run


async def _run(site: Site, role: Role, identity: object, page: str = "/runs") -> httpx2.Response:
    async with site.program(role, bound_to(role)) as client:
        return await client.get(f"{page}/{identity}")


async def test_a_run_tells_what_explain_tells(site: Site) -> None:
    """The same gates, claims, sends and reviews, by its id and by its draft's."""
    own = site.seeded[OWN]
    explained = plain(await explain_draft(site.db, own.draft_id, text=False))
    for identity in (own.run_id, own.draft_id):
        told = (await _run(site, Role.OPS, identity, "/api/runs")).json()
        assert told["explained"] == json.loads(
            json.dumps(explained, default=lambda at: at.isoformat()).replace("+00:00", "Z")
        )
        assert told["run"]["id"] == str(own.run_id)


async def test_every_stage_has_its_figures(site: Site) -> None:
    """Latency, tokens, cost, attempts, confidence and what was decided by it, and a bar in the timeline."""
    told = (await _run(site, Role.OPS, site.seeded[OWN].run_id, "/api/runs")).json()
    evaluation = next(each for each in told["stages"] if each["stage"] == "auto_send_evaluation")
    assert (evaluation["input_tokens"], evaluation["output_tokens"], evaluation["cost_usd"]) == (900, 120, 0.002)
    assert (evaluation["confidence"], evaluation["passed"]) == (0.84, False)
    assert [call["attempt"] for call in evaluation["calls"]] == [1]
    assert told["sums"]["calls"] == len(told["stages"]) == len(told["timeline"]["rows"]) == 8
    page = (await _run(site, Role.OPS, site.seeded[OWN].run_id)).text
    assert page.count('<svg class="span"') == 8
    assert "0.840 &lt; 0.900" in page


@pytest.mark.parametrize("role", list(Role))
async def test_texts_are_for_those_who_may_read_them(site: Site, role: Role) -> None:
    """Message, draft and the model's own words: reviewers and admins; ops and analysts see everything else."""
    reads = role in (Role.REVIEWER, Role.WORKSPACE_ADMIN, Role.SUPER_ADMIN)
    for page in ("/runs", "/api/runs"):
        answer = await _run(site, role, site.seeded[OWN].run_id, page)
        shown = [text in unescape(answer.text) for text in TEXTS]
        assert shown == [reads] * len(TEXTS), (role, page)
        assert "below_threshold" in answer.text.replace("<wbr>", "")


async def test_a_draft_outlives_its_run(site: Site) -> None:
    """Past retention the page still tells the draft's numbers, and says that the run is gone."""
    draft = uuid.uuid4()
    await insert(
        site.db, "ai_draft", id=draft, workspace_id=OWN, lead_id="lead-own-mark", trigger_message_id="gone", trigger_ingest_seq=9,
        mode="AI_AUTO_SEND", channel="email", auto_send_confidence=0.7, auto_send_threshold=0.9, auto_send_action="needs_review",
        auto_send_reason="below_threshold",
    )  # fmt: skip
    page = await _run(site, Role.OPS, draft)
    assert (page.status_code, "past retention" in page.text) == (200, True)
    assert (await _run(site, Role.REVIEWER, uuid.uuid4())).status_code == 404


async def test_a_run_without_a_draft_yet_shows_its_stages(site: Site) -> None:
    """A RUNNING run that was just created; its page renews itself and can be paused."""
    run = uuid.uuid4()
    await insert(
        site.db, "draft_pipeline_run", id=run, workspace_id=OWN, lead_id="lead-own-mark", trigger_message_id="m-young",
        draft_id=uuid.uuid4(), channel="chat", policy_revision=1, lease_owner="w", lease_until=NOW, created_at=NOW,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )  # fmt: skip
    for reader in (Role.REVIEWER, Role.SUPER_ADMIN):
        assert "No text is on record" in (await _run(site, reader, run)).text
    page = (await _run(site, Role.OPS, run)).text
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in page
    assert "data-pause" in page
    assert 'hx-trigger="every 5s"' in page
