"""Overview, Canary and Quality say the same of the same drafts: who was asked, and who sent it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from schemas.codes import Role
from tests.db.past import past_runs
from tests.web.conftest import Site
from tests.web.seeding import insert

WS = "ws-agreement"
# By number of the draft: what a person decided. Those left out went out by themselves.
DECIDED = {3: "approved", 4: "edited", 5: "rejected", 6: None, 7: "approved"}
DRAFT_ONLY = 7
REVISED = (1, 4)


@pytest.fixture
async def decided(site: Site) -> AsyncIterator[Site]:
    """Seven drafts as the pipeline leaves them; an approval ends as `send_immediate`, a rejection as `none`."""
    await past_runs(site.db, 1, 7, "1 hour", WS)
    async with site.db.transaction():
        await site.db.execute("ALTER TABLE ai_draft DISABLE TRIGGER USER")  # what was sent is never decided again
        for row in await site.db.fetch("SELECT * FROM ai_draft WHERE workspace_id = $1", WS):
            await _write_fate(site.db, row)
        await site.db.execute("ALTER TABLE ai_draft ENABLE TRIGGER USER")
    yield site
    await site.db.execute("DELETE FROM workspace WHERE id = $1", WS)


async def _write_fate(connection: asyncpg.Connection, draft: asyncpg.Record) -> None:
    """The question, what a person made of it, and the send."""
    number, now = draft["trigger_ingest_seq"], datetime.now(UTC)
    same = {"draft_id": draft["id"], "workspace_id": WS}
    result = DECIDED.get(number)
    status, action = ("sent", "send_immediate")
    if number in DECIDED and result in ("rejected", None):
        status, action = ("rejected", "none") if result else ("pending", "needs_review")
    await connection.execute(
        "UPDATE ai_draft SET status = $2, auto_send_action = $3, mode = $4, auto_send_revision_applied = $5,"
        " auto_send_revision_attempted_at = CASE WHEN $5 THEN now() END WHERE id = $1", draft["id"], status, action,
        "DRAFT_ONLY" if number == DRAFT_ONLY else "AI_AUTO_SEND", number in REVISED,
    )  # fmt: skip
    if number in DECIDED:
        await insert(
            connection, "review_request", id=uuid.uuid4(), reason="below_threshold", expires_at=now,
            status="decided" if result else "open", closed_at=now if result else None, **same,
        )  # fmt: skip
    if result:
        await insert(
            connection, "review_action", id=uuid.uuid4(), actor="a person", via="web", action="approve", result=result,
            done_at=now, **same,
        )  # fmt: skip
    if status == "sent":
        await insert(
            connection, "delivery", id=uuid.uuid4(), lead_id=draft["lead_id"], channel="chat", content="", status="sent",
            trigger_message_id=draft["trigger_message_id"], automatic=result is None, content_sha256="0" * 64,
            finished_at=now, approved_by="a person" if result else None, edited=result == "edited", **same,
        )  # fmt: skip


async def _told(site: Site, path: str, **query: Any) -> dict[str, Any]:
    async with site.program(Role.SUPER_ADMIN) as client:
        answer = await client.get(path, params={"workspace": WS, **query})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_all_pages_tell_alike_who_was_asked_and_who_sent(decided: Site) -> None:
    """What a person approved was not sent by itself; who was asked stays asked; an edit of a revised draft is one."""
    overview = (await _told(decided, "/api/overview"))["decided"]["24 h"]
    canary = (await _told(decided, "/api/control/canary"))["canary"]
    quality = await _told(decided, "/api/quality")
    [reviews] = quality["reviews"]

    assert overview["drafts"] == canary["drafts"] == quality["figures"]["drafts"] == 7
    assert overview["sent_by_itself"] == canary["sent_by_itself"] == quality["figures"]["sent_by_itself"] == 2
    assert overview["sent"] == canary["sent"] == quality["figures"]["sent"] == 5
    assert overview["asked"] == canary["asked"] == reviews["asked"] == quality["figures"]["needs_review"] + 1 == 5
    assert canary["edited"] == reviews["edited"] == 1
    assert canary["rejected"] == reviews["rejected"] == 1


async def test_imported_drafts_are_not_among_what_was_decided(decided: Site) -> None:
    """Their times say nothing about the pipeline: no page counts them."""
    await decided.db.execute("UPDATE ai_draft SET backfilled = true WHERE workspace_id = $1 AND lead_id = 'past-2'", WS)
    overview = (await _told(decided, "/api/overview"))["decided"]["24 h"]
    canary = (await _told(decided, "/api/control/canary"))["canary"]
    quality = (await _told(decided, "/api/quality"))["figures"]
    assert overview["sent_by_itself"] == canary["sent_by_itself"] == quality["sent_by_itself"] == 1
    assert overview["drafts"] == canary["drafts"] == quality["drafts"] == 6
