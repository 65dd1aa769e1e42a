"""After an erasure a dump of the database holds nothing of the lead, and a replay brings nothing back."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from agents.dead_letters import Incoming
from agents.ingest import Result, ingest_batch
from app import erasure
from app.erasure import Erased, LeadUnknown, Request, StillUnderWay, erase_lead
from app.slack.client import SlackClient
from app.stack.local import LocalStack
from app.stack.postgres import _binary
from db import sql
from db.pool import Pool, create_pool, transaction
from schemas.ids import draft_id, message_row_id, run_id
from tests.cli.conftest import config_of
from tests.conftest import Database

WS, OTHER = "ws-erase", "ws-other"
MARK = "zqxplanted"
LEAD = f"lead-{MARK}"
MESSAGE = f"message-{MARK}"
DRAFT = draft_id(WS, MESSAGE, "chat")
RUN = run_id(WS, MESSAGE, "chat", 1)
JSON_MARK = json.dumps({"text": MARK})

# Every column that can hold text, by table. What is not personal says why it cannot be: codes, ids of ours, what the
# workspace wrote about itself. A new column must be put on one side, and then erased or not.
PERSONAL = {
    "lead": "lead_id name email phone timezone locale",
    "lead_memory_entry": "lead_id text",
    "message": "lead_id thread_id message_id sent_by source body subject from_address to_address headers traceparent",
    "draft_pipeline_run": "lead_id trigger_message_id thread_id traceparent",
    "draft_run_context": "snapshot context_pack",
    "draft_pipeline_artifact": "payload text",
    "ai_draft": "lead_id trigger_message_id thread_id recipient content original_content hard_blocks",
    "delivery": "lead_id trigger_message_id thread_id recipient content provider_message_id",
    "review_action": "edited_text reject_reason passed response_url",
    "meeting_overseer_decision": "reason",
    "booking": "lead_id external_id",
    "followup_task": "lead_id reason",
    "suppression": "lead_id",
    "outbox": "key value headers message_id conversation",
}
IMPERSONAL = {
    "workspace": "id name default_mode",
    "workspace_settings": "*",
    "campaign": "*",
    "confidence_policy_revision": "*",
    "knowledge_entry": "*",
    "availability_slot": "workspace_id source",
    "admin_audit": "*",
    "api_token": "*",
    "web_session": "*",
    "workspace_budget": "*",
    "send_pace": "*",
    "restore_quarantine": "*",
    "kill_switch": "*",
    "process_heartbeat": "*",
    "ingest_watermark": "*",
    "schema_migration": "*",
    "ai_interaction": "*",
    "model_call": "*",
    "draft_claim": "*",
    "review_request": "*",
    "lead": "workspace_id",
    "lead_memory_entry": "workspace_id",
    "message": "workspace_id channel direction campaign_id mode disposition approved_by approved_via",
    "draft_pipeline_run": "workspace_id channel status phase reason source lease_owner",
    "draft_pipeline_artifact": "stage prompt_key input_sha256 model",
    "ai_draft": "workspace_id campaign_id mode channel content_sha256 language status auto_send_reason auto_send_action"
    " revision_outcome",
    "delivery": "workspace_id channel content_sha256 route_sha256 status reason lease_owner approved_by approved_via confirmed_by",
    "review_action": "workspace_id actor via action content_sha256 binding result passed response_url",
    "meeting_overseer_decision": "decision outcome outcome_reason",
    "booking": "workspace_id status source reason",
    "followup_task": "workspace_id outcome",
    "suppression": "workspace_id reason",
    "outbox": "topic workspace_id",
}


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """A lead with one of everything; each column that may hold text of theirs holds the mark."""
    opened = await create_pool(database.url, size=6)
    for workspace in (WS, OTHER):
        await opened.execute("INSERT INTO workspace (id, default_mode) VALUES ($1, 'AI_AUTO_SEND')", workspace)
        await opened.execute("INSERT INTO workspace_settings (workspace_id) VALUES ($1)", workspace)
    await ingest(opened, record())
    await ingest(opened, record(MESSAGE + "-2", subject=None), {**_BARE, "workspace_id": WS}, _BARE)
    await plant(opened)
    yield opened
    await opened.close()


_BARE = {
    "schema_version": 1,
    "message_id": "m-other",
    "workspace_id": OTHER,
    "lead_id": "someone-else",
    "channel": "chat",
    "received_at": "2026-11-02T08:00:00Z",
    "body": "nobody's business",
}


def record(identity: str = MESSAGE, **fields: Any) -> dict[str, Any]:
    """A record of the lead, marked everywhere."""
    return {
        "schema_version": 1,
        "message_id": identity,
        "workspace_id": WS,
        "lead_id": LEAD,
        "channel": "chat",
        "received_at": "2026-11-02T08:00:00Z",
        "body": f"body {MARK}",
        "subject": f"subject {MARK}",
        "thread_id": f"thread {MARK}",
        "from_address": f"from@{MARK}.example",
        "to_address": f"to@{MARK}.example",
        "headers": {f"X-{MARK}": MARK},
        "lead": {"name": MARK, "email": MARK, "phone": MARK, "timezone": MARK, "locale": MARK},
    } | fields


async def ingest(pool: Pool, *records: dict[str, Any]) -> Result:
    batch = [
        Incoming("inbound-message", 0, number, 0.0, None, json.dumps(each).encode())
        for number, each in enumerate(records)
    ]
    async with transaction(pool) as connection:
        return await ingest_batch(connection, batch, frozenset())


async def plant(pool: Pool) -> None:
    """Rows that a whole flow leaves, written by hand so that every text column is full."""
    await pool.execute("UPDATE message SET sent_by = $1, source = $1, traceparent = $1 WHERE lead_id = $2", MARK, LEAD)
    await pool.execute("UPDATE message SET disposition = 'run' WHERE message_id = $1", MESSAGE)
    await pool.execute(
        "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, thread_id,"
        " policy_revision, lease_owner, lease_until, traceparent) VALUES ($1, $2, $3, $4, $5, 'chat', $6, 1, 'w',"
        " now() + interval '1 hour', $6)", RUN, WS, LEAD, MESSAGE, DRAFT, MARK,
    )  # fmt: skip
    await pool.execute("INSERT INTO draft_run_context VALUES ($1, $2, $2)", RUN, {"text": MARK})
    await pool.execute(
        "INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload,"
        " text) VALUES ($1, $2, 's', 0, '', repeat('0', 64), '', $3, $4)", uuid.uuid4(), RUN, {"text": MARK}, MARK,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO ai_draft (id, run_id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, thread_id,"
        " mode, channel, recipient, content, original_content, status, hard_blocks, auto_send_action,"
        " auto_send_confidence) VALUES ($1, $2, $3, $4, $5, 1, $6, 'AI_AUTO_SEND', 'chat', $6, $6, $6, 'scheduled',"
        " $7, 'send_delayed', 0.93)", DRAFT, RUN, WS, LEAD, MESSAGE, MARK,
        [{"group": "claims", "rule": "time_not_in_context", "start": 3, "end": 9, "quote": MARK}],
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, thread_id, automatic,"
        " recipient, content, content_sha256, provider_message_id) VALUES ($1, $2, $3, $4, $5, 'chat', $6, true, $6,"
        " $6, '', $6)", uuid.uuid4(), DRAFT, WS, LEAD, MESSAGE, MARK,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO review_request (id, draft_id, workspace_id, reason, expires_at)"
        " VALUES ($1, $2, $3, 'r', now() + interval '1 day')", uuid.uuid4(), DRAFT, WS,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action, edited_text, reject_reason)"
        " VALUES ($1, $2, $3, 'U1', 'slack', 'edit', $4, $4)", uuid.uuid4(), DRAFT, WS, MARK,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO meeting_overseer_decision (id, run_id, draft_id, decision, reason)"
        " VALUES ($1, $2, $3, 'revise', $4)", uuid.uuid4(), RUN, DRAFT, MARK,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO lead_memory_entry (workspace_id, lead_id, text) VALUES ($1, $2, $3)", WS, LEAD, MARK
    )
    slot = await pool.fetchval(
        "INSERT INTO availability_slot (workspace_id, starts_at, ends_at) VALUES ($1, now(), now() + interval '1 hour')"
        " RETURNING id", WS,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO booking (id, workspace_id, lead_id, slot_id, status, source, external_id, starts_at, ends_at)"
        " VALUES ($1, $2, $3, $4, 'confirmed', 'outside', $5, now(), now() + interval '1 hour')",
        uuid.uuid4(), WS, LEAD, slot, MARK,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO followup_task (id, workspace_id, lead_id, draft_id, outcome, reason)"
        " VALUES ($1, $2, $3, $4, 'booked', $5)", uuid.uuid4(), WS, LEAD, DRAFT, MARK,
    )  # fmt: skip
    await pool.execute("INSERT INTO suppression (workspace_id, lead_id, reason) VALUES ($1, $2, 'opt_out')", WS, LEAD)
    event = {"lead_id": LEAD, "trigger_message_id": MESSAGE}
    await publish(pool, "draft-evaluated", json.dumps(event).encode(), key=LEAD.encode(), workspace=WS)
    await publish(pool, "dead-letter", json.dumps(record() | {"channel": "fax"}).encode(), key=None, workspace=None)
    escaped = json.dumps(record()).replace("lead-zqx", "lead-\\u007aqx").replace(MARK, "text")
    await publish(pool, "dead-letter", escaped.encode(), key=b"k", workspace=None)


async def publish(pool: Pool, topic: str, value: bytes, *, key: bytes | None, workspace: str | None) -> None:
    await pool.execute(
        "INSERT INTO outbox (event_id, topic, key, value, workspace_id, published_at)"
        " VALUES (gen_random_uuid(), $1, $2, $3, $4, now())", topic, key, value, workspace,
    )  # fmt: skip


async def erase(pool: Pool, lead: str = LEAD, slack: SlackClient | None = None, wait_s: float = 5.0) -> Erased:
    request = Request(WS, lead, "operator:test", "cli", "request 4711")
    return await erase_lead(pool, request, slack, lambda draft: f"https://example.com/drafts/{draft}", wait_s=wait_s)


async def dump(database: Database) -> bytes:
    """All of the database, as `pg_dump` writes it."""
    process = await asyncio.create_subprocess_exec(
        *(str(_binary("pg_dump")), "--inserts", "--rows-per-insert=1", database.url), stdout=asyncio.subprocess.PIPE
    )
    written, _ = await process.communicate()
    assert process.returncode == 0
    return b"\n".join(line for line in written.splitlines() if b"restrict " not in line)  # a random word each time


async def leaks(database: Database) -> list[bytes]:
    """The lines of a dump that hold the mark, plain or as a bytea's digits."""
    marks = (MARK.encode(), MARK.encode().hex().encode())
    return [line[:300] for line in (await dump(database)).splitlines() if any(mark in line for mark in marks)]


async def test_a_dump_holds_nothing_of_an_erased_lead(pool: Pool, database: Database) -> None:
    """Not in any table, whatever field it stood in; the mark was all over it before."""
    tables = {line.split(b" ")[2] for line in await leaks(database)}
    assert tables >= {f"public.{name}".encode() for name in PERSONAL if name != "lead_memory_entry"}
    erased = await erase(pool)
    assert await leaks(database) == []
    assert (erased.messages, erased.runs, erased.drafts, erased.deliveries, erased.memory_entries) == (2, 1, 1, 1, 1)
    assert await pool.fetchval("SELECT count(*) FROM message WHERE lead_id = 'someone-else'") == 2


async def test_every_column_that_can_hold_text_is_known_to_the_erasure(pool: Pool) -> None:
    """Whoever adds a column says whether it may hold something of a lead."""
    rows = await pool.fetch(
        "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        " AND data_type IN ('text', 'jsonb', 'bytea', 'ARRAY', 'tsvector', 'character varying')"
    )
    unknown = [
        f"{table}.{column}"
        for table, column in map(tuple, rows)
        if column not in PERSONAL.get(table, "").split()
        and column not in IMPERSONAL.get(table, "").split()
        and IMPERSONAL.get(table) != "*"
    ]
    assert unknown == []


async def letters(pool: Pool) -> set[str]:
    """The notes on the dead letters that are left, without those that every test has."""
    rows = await pool.fetch("SELECT value FROM outbox WHERE topic = 'dead-letter'")
    return {found[1].decode() for row in rows if (found := re.search(rb"note-([a-z-]+)", row["value"]))}


async def test_a_short_id_takes_no_letters_of_others_along(pool: Pool) -> None:
    """A letter that says whose it is goes with its lead; one that does not goes when it may be the lead's."""
    await ingest(pool, record("message-of-1", lead_id="1"))
    for kept in (
        {"workspace_id": OTHER, "lead_id": "1", "body": "note-same-id-elsewhere"},
        {"workspace_id": WS, "lead_id": "2", "body": "1 note-names-it"},
        {"workspace_id": WS, "lead_id": "lead-1", "body": "note-longer-id"},
    ):
        await publish(pool, "dead-letter", json.dumps(kept).encode(), key=None, workspace=None)
    await publish(pool, "dead-letter", b'{"lead_id": "2", note-broken', key=b"2", workspace=None)
    for key, gone in (
        (None, b'{"workspace_id": "ws-erase", "lead_id": "1", "body": "note-gone"}'),
        (None, b'{"lead_id": 1, "body": "note-number"}'),
        (b"1", b'{"body": "note-key"}'),
        (None, b'{"lead": {"id": "1"}, "body": "note-elsewhere"}'),
        (None, b'[{"lead_id": "1"}, "note-list"]'),
        (None, b'{"lead_id": "1", note-torn'),
        (None, '{"lead_id": "1", '.encode("utf-16") + b"note-two-bytes"),
    ):
        await publish(pool, "dead-letter", gone, key=key, workspace=None)
    erased = await erase(pool, lead="1")
    assert await letters(pool) == {"same-id-elsewhere", "names-it", "longer-id", "broken"}
    assert erased.outbox_rows == 7


async def test_letters_are_searched_a_few_bytes_at_a_time(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Originals of 9 MiB are not all read at once, and none is left out."""
    monkeypatch.setattr(erasure, "OUTBOX_PAGE_BYTES_MAX", 1_500)
    for number in range(5):
        letter = json.dumps({"workspace_id": WS, "lead_id": LEAD, "body": "x" * 700 * (number + 1)})
        await publish(pool, "dead-letter", letter.encode(), key=None, workspace=None)
    after, pages = 0, []
    while page := await sql.housekeeping.outbox_page.rows(pool, after_id=after, limit=2_000, bytes=1_500):
        after = page[-1]["id"]
        pages.append([len(row["letter"] or b"") for row in page])
    assert all(len(page) == 1 or sum(page) <= 1_500 for page in pages), pages
    await erase(pool)
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'dead-letter'") == 0


async def test_decisions_and_figures_of_an_erased_lead_stay(pool: Pool) -> None:
    """Without texts, places and recipient; the run's end is told under a hashed id."""
    await erase(pool)
    draft = await pool.fetchrow("SELECT * FROM ai_draft WHERE id = $1", DRAFT)
    assert draft is not None
    assert (draft["auto_send_confidence"], draft["status"], draft["auto_send_reason"]) == (
        0.93,
        "superseded",
        "lead_erased",
    )
    assert draft["hard_blocks"] == [{"group": "claims", "rule": "time_not_in_context", "start": -1, "end": -1}]
    event = json.loads(await pool.fetchval("SELECT value FROM outbox WHERE topic = 'draft-outcome'"))
    assert (event["draft_id"], event["status"], event["reason"]) == (str(DRAFT), "superseded", "lead_erased")
    assert event["lead_id"] == draft["lead_id"]
    assert event["lead_id"].startswith("erased:")
    assert await pool.fetchval("SELECT status FROM delivery WHERE draft_id = $1", DRAFT) == "cancelled"
    assert await pool.fetchval("SELECT status FROM review_request WHERE draft_id = $1", DRAFT) == "superseded"


async def test_a_replay_of_an_erased_leads_messages_brings_nothing_back(pool: Pool, database: Database) -> None:
    """The same records are dropped as repeats: no lead, no message, no request."""
    await erase(pool)
    replayed = await ingest(pool, record(), record(MESSAGE + "-2"))
    assert (replayed.stored, replayed.repeated, replayed.rows) == (0, 2, [])
    assert await leaks(database) == []


async def test_a_new_message_of_an_erased_lead_is_a_new_leads(pool: Pool) -> None:
    """It is stored and knows nothing of before, except that who opted out stays so."""
    await erase(pool)
    result = await ingest(pool, record("m-new"))
    assert result.stored == 1
    stored = await pool.fetchrow("SELECT lead_id, disposition FROM message WHERE id = $1", message_row_id(WS, "m-new"))
    assert stored is not None
    assert tuple(stored) == (LEAD, "lead_suppressed")
    assert await pool.fetchval("SELECT count(*) FROM message WHERE lead_id = $1", LEAD) == 1
    again = await erase(pool)
    assert (again.before, again.messages) == (False, 1)
    assert await pool.fetchval("SELECT count(*) FROM lead WHERE erased_at IS NOT NULL") == 1


async def test_erasing_twice_changes_nothing_the_second_time(pool: Pool, database: Database) -> None:
    """It says that it was done before; a lead that never was is an error."""
    await erase(pool)
    before = await dump(database)
    again = await erase(pool)
    assert again == Erased(again.erased_id, before=True)
    assert await dump(database) == before
    with pytest.raises(LeadUnknown):
        await erase(pool, "nobody")


async def test_an_erasure_waits_for_a_send_that_is_under_way(pool: Pool) -> None:
    """Nothing is changed while a provider may have the reply; when it is settled the erasure goes through."""
    await pool.execute("UPDATE delivery SET status = 'claimed', claimed_at = now()")
    with pytest.raises(StillUnderWay):
        await erase(pool, wait_s=0.0)
    assert await pool.fetchval("SELECT count(*) FROM message WHERE lead_id = $1", LEAD) == 2
    erasing = asyncio.create_task(erase(pool))
    await asyncio.sleep(0)
    await pool.execute("UPDATE delivery SET status = 'sent', finished_at = now()")
    assert (await erasing).messages == 2


async def test_what_a_worker_still_writes_for_an_erased_run_is_refused(pool: Pool) -> None:
    """The run is gone: its artifacts find no run, its lease is lost."""
    await erase(pool)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await pool.execute(
            "INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload,"
            " text) VALUES ($1, $2, 's', 0, '', repeat('0', 64), '', '{}', 'late')", uuid.uuid4(), RUN,
        )  # fmt: skip


async def test_what_a_person_still_writes_about_an_erased_lead_is_not_kept(pool: Pool) -> None:
    """A form that was open in Slack or in a browser: its decision is dropped, with its text."""
    await erase(pool)
    written = await sql.review.add_review_action.value(
        pool, action_id=uuid.uuid4(), draft_id=DRAFT, workspace_id=WS, actor="U1", via="slack", action="edit",
        content_sha256=None, edited_text=f"late {MARK}", reject_reason=None, binding={},
    )  # fmt: skip
    assert written is None
    assert await pool.fetchval("SELECT count(*) FROM review_action WHERE edited_text IS NOT NULL") == 0


async def test_a_replay_that_races_an_erasure_leaves_nothing(pool: Pool, database: Database) -> None:
    """Whoever is second waits for the first: many rounds, in any order, end with nothing of the lead."""

    async def replay() -> None:
        for _ in range(20):
            await ingest(pool, record(), record(MESSAGE + "-2"))

    await asyncio.gather(replay(), erase(pool), replay())
    assert await leaks(database) == []


async def test_slack_messages_about_an_erased_lead_are_written_anew(pool: Pool, stack: LocalStack) -> None:
    """None of them shows a draft any more; one that Slack refuses is told, and tried again by the next call."""
    slack = SlackClient(config_of(stack.env))
    await pool.execute("UPDATE review_request SET slack_channel = 'C1', slack_ts = '1.000001'")
    refused = await erase(pool, slack=slack)
    assert (refused.slack_messages, refused.slack_left) == (0, 1)

    posted = await slack.post("C1", _message(f"draft {MARK}"))
    await pool.execute("UPDATE review_request SET slack_ts = $1", posted.ts)  # type: ignore[union-attr]
    done = await erase(pool, slack=slack)
    await slack.close()
    assert (done.slack_messages, done.slack_left) == (1, 0)
    shown = [
        line["body"] for line in stack.slack.ledger() if line["method"] == "chat.update" and line["outcome"] == "ok"
    ]
    assert MARK not in json.dumps(shown[-1])


def _message(text: str) -> Any:
    from app.slack.blocks import SlackMessage

    return SlackMessage(text, ())
