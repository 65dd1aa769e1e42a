"""The quality page: the figures of the views, for who may see them, with filters in the URL, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.web.charts import Point, unit_square
from db.pool import create_pool
from schemas.codes import Role
from tests.db.past import past_runs
from tests.web.conftest import Site
from tests.web.seeding import OWN

WS = "ws-quality"
TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
async def judged(site: Site) -> AsyncIterator[Site]:
    """Sixty sent drafts over two days; some were revised, some were put to a person, who decided."""
    pool = await create_pool(site.url, size=1)
    await past_runs(pool, 1, 40, "1 hour", WS)
    await past_runs(pool, 41, 60, "1 day 1 hour", WS)
    await pool.execute(
        "UPDATE ai_draft SET auto_send_original_confidence = 0.62, auto_send_revision_confidence = 0.93,"
        " auto_send_confidence = 0.93, auto_send_revision_applied = true, revision_outcome = 'applied', campaign_id = 'spring',"
        " auto_send_revision_attempted_at = created_at WHERE workspace_id = $1 AND trigger_ingest_seq <= 10", WS,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO review_request (id, draft_id, workspace_id, reason, status, expires_at, closed_at) SELECT"
        " gen_random_uuid(), id, workspace_id, 'below_threshold', 'decided', now(), now() FROM ai_draft"
        " WHERE workspace_id = $1 AND trigger_ingest_seq BETWEEN 11 AND 14", WS,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action, result, done_at) SELECT"
        " gen_random_uuid(), id, workspace_id, 'p', 'web', 'approve',"
        " CASE WHEN trigger_ingest_seq = 11 THEN 'rejected' ELSE 'approved' END, now() FROM ai_draft"
        " WHERE workspace_id = $1 AND trigger_ingest_seq BETWEEN 11 AND 14", WS,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort,"
        " input_sha256, status, cost_usd, input_tokens, output_tokens, finished_at, started_at) SELECT gen_random_uuid(),"
        " run_id, id, workspace_id, 's', 0, 1, 'm', 'low', '', 'answered', 0.01, 100, 10, now(), created_at FROM ai_draft"
        " WHERE workspace_id = $1", WS,
    )  # fmt: skip
    yield site
    await pool.execute("DELETE FROM workspace WHERE id = $1", WS)
    await pool.close()


async def told(site: Site, query: str = "", role: Role = Role.ANALYST, workspace: str | None = None) -> dict[str, Any]:
    async with site.program(role, workspace) as client:
        answer = await client.get(f"/api/quality?workspace={WS}&{query}")
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()
    return data


async def test_the_page_shows_what_the_views_say(judged: Site) -> None:
    """Drafts, revisions, reviews, confidences and cost, each as counted by the views."""
    data = await told(judged)
    assert (data["figures"]["evaluated"], data["figures"]["attempted"], data["figures"]["applied"]) == (60, 10, 10)
    assert data["figures"]["gain"] == pytest.approx(0.31)
    assert {row["bucket"]: (row["before"], row["after"]) for row in data["confidences"]} == {
        12: (10, 0), 18: (0, 10), 19: (50, 50),
    }  # fmt: skip
    [reliability] = data["reliability"]
    assert (reliability["reviewed"], reliability["approved"], reliability["approved_rate"]) == (4, 3, 0.75)
    [reviews] = data["reviews"]
    assert (reviews["asked"], reviews["approved"], reviews["rejected"]) == (4, 3, 1)
    assert sum(row["drafts"] for row in data["by_day"]) == 60
    assert sum(row["draft_cost_usd"] for row in data["costs"]) == pytest.approx(0.6)
    assert data["answer"][0].endswith("people approved 3 of the 4 they decided on as they were.")


async def test_filters_in_the_url_narrow_every_table(judged: Site) -> None:
    """Channel, campaign and days; a range that is none is refused with a sentence."""
    assert (await told(judged, "campaign=spring"))["figures"]["drafts"] == 10
    assert (await told(judged, "channel=email"))["figures"]["drafts"] == 0
    yesterday = (datetime.now(UTC) - timedelta(days=1, hours=1)).date()
    before = (datetime.now(UTC) - timedelta(hours=1)).date()
    wanted = 60 if yesterday == before else 20
    assert (await told(judged, f"since={yesterday}&until={yesterday}"))["figures"]["drafts"] == wanted
    assert (await told(judged, "since=2020-01-01&until=2020-01-31"))["answer"] == ["No drafts in this time.", "quiet"]
    async with judged.program(Role.ANALYST) as client:
        assert (await client.get("/api/quality?since=2026-02-01&until=2026-01-01")).status_code == 400
        assert (await client.get("/api/quality?since=1999-01-01&until=2026-01-01")).status_code == 400


async def test_each_table_is_a_csv_with_the_same_filters(judged: Site) -> None:
    """What the page shows, for a spreadsheet; a value that would run there as a formula is quoted."""
    await judged.db.execute(
        "UPDATE ai_draft SET campaign_id = '=1+1' WHERE workspace_id = $1 AND trigger_ingest_seq = 60", WS
    )
    data = await told(judged)
    async with judged.program(Role.ANALYST) as client:
        for table in ("by_day", "by_campaign", "confidences", "reliability", "reviews", "latency", "costs", "drift"):
            answer = await client.get(f"/api/quality.csv?table={table}&workspace={WS}")
            assert answer.headers["content-type"].startswith("text/csv")
            rows = list(csv.DictReader(io.StringIO(answer.text)))
            assert len(rows) == len(data[table])
        campaigns = (await client.get(f"/api/quality.csv?table=by_campaign&workspace={WS}")).text
        assert "'=1+1" in campaigns
        assert (await client.get("/api/quality.csv?table=ai_draft")).status_code == 422
    await judged.db.execute(
        "UPDATE ai_draft SET campaign_id = NULL WHERE workspace_id = $1 AND trigger_ingest_seq = 60", WS
    )


async def test_a_workspaces_analyst_sees_that_workspace_only(judged: Site) -> None:
    """Without a filter their own; another one does not exist for them."""
    async with judged.program(Role.ANALYST, OWN) as client:
        data = (await client.get("/api/quality")).json()
        assert {row["workspace_id"] for row in data["by_campaign"]} == {OWN}
        assert data["choices"]["workspaces"] == [OWN]
        assert (await client.get(f"/api/quality?workspace={WS}")).status_code == 404
        assert (await client.get(f"/api/quality.csv?table=costs&workspace={WS}")).status_code == 404


async def test_the_page_draws_with_a_table_beside_each_drawing(judged: Site) -> None:
    """Histograms, the reliability diagram and lines by day, with values on hover; a page without drafts says so."""
    async with judged.program(Role.SUPER_ADMIN) as client:
        page = (await client.get(f"/quality?workspace={WS}")).text
        empty = (await client.get(f"/quality?workspace={WS}&channel=sms")).text
    assert page.count('<svg class="chart') == 7
    assert page.count("<table>") >= 9
    assert "3 of 4 approved" in page
    assert "No draft was begun in these days" in empty
    assert "<svg" not in empty


def test_a_point_on_the_diagonal_lies_where_the_diagonal_is() -> None:
    """Both axes have the same length; what a point is stands on hover, escaped."""
    drawn = str(unit_square([Point(0.5, 0.5, "<b>half</b>")], title="t", x_name="x", y_name="y"))
    middle = next(part for part in drawn.split("<") if part.startswith("circle"))
    line = next(part for part in drawn.split("<") if part.startswith("line") and 'class="mark"' in part)
    values = {name: float(line.split(f'{name}="')[1].split('"')[0]) for name in ("x1", "x2", "y1", "y2")}
    assert float(middle.split('cx="')[1].split('"')[0]) == pytest.approx((values["x1"] + values["x2"]) / 2, abs=0.1)
    assert float(middle.split('cy="')[1].split('"')[0]) == pytest.approx((values["y1"] + values["y2"]) / 2, abs=0.1)
    assert "&lt;b&gt;half" in drawn
    assert unit_square([], title="t", x_name="x", y_name="y") == ""
