"""Many drafts that are about to be sent, in real tables, and a provider that keeps its own ledger."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg

from agents.dead_letters import Incoming
from agents.delivering import deliver
from agents.ingest import ingest_batch
from agents.outcomes import sha256_of
from agents.ports import Capabilities, Outgoing, SendResult, Sent
from agents.rim import OutboxRow, Rim
from db import sql
from db.pool import Pool, create_pool, transaction
from schemas.codes import Channel, Mode
from schemas.context import DraftRunContextPack, DraftRunSnapshot, Profile, Turn
from schemas.events import ReviewCommand
from schemas.ids import derive
from schemas.review import Binding
from schemas.settings import PolicyRules, WorkspaceSettings
from tests.conftest import Database

WORKSPACE = "ws-sending"
TEXT = "Thank you for your message. We will look into it."
CONNECTIONS = 16
PAIRS_AT_ONCE = 12
HEAD_START_S_MAX = 0.004


@dataclass
class Ledger:
    """A provider: what it took, and when (monotonic, in seconds)."""

    capabilities: Capabilities = field(default_factory=Capabilities)
    answer: Callable[[Outgoing], SendResult] = lambda outgoing: Sent(f"provider-{outgoing.key}")
    found: SendResult | None = None
    taken: Counter[uuid.UUID] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    route: str = "ledger"

    async def send(self, outgoing: Outgoing, timeout_s: float) -> SendResult:
        """Take the message, unless `answer` says otherwise."""
        self.keys.append(outgoing.key)
        self.moments.append(asyncio.get_running_loop().time())
        result = self.answer(outgoing)
        self.taken[outgoing.draft_id] += isinstance(result, Sent)
        return result

    async def look_up(self, outgoing: Outgoing, timeout_s: float) -> SendResult | None:
        """What the test says."""
        return self.found


class Passed:
    """A fence that lets everything pass: ingest is called by the tests themselves."""

    async def passed(self, timeout_s: float) -> bool:
        return True


@dataclass
class Silent:
    """A publisher that keeps what it is given."""

    rows: list[OutboxRow] = field(default_factory=list)

    def publish(self, rows: Sequence[OutboxRow]) -> None:
        self.rows += rows


@dataclass
class Sending:
    """`count` drafts `ids`, one per lead `l-N` and message `m-N`, with what a worker has."""

    pool: Pool
    ids: list[uuid.UUID]
    ledger: Ledger
    rim: Rim

    async def take(self) -> list[asyncpg.Record]:
        """All due deliveries, leased, in the order of their drafts."""
        rows = await sql.delivery.take_due_deliveries.rows(
            self.pool, owner="test", lease_s=600.0, limit=100_000, workspace_limit=100_000
        )
        return sorted(rows, key=lambda row: self.ids.index(row["draft_id"]))

    async def deliver_rest(self) -> None:
        """Bring what is due to its end."""
        await gather([lambda row=row: deliver(self.rim, row) for row in await self.take()])  # type: ignore[misc]

    async def column(self, query: str, *arguments: Any) -> list[Any]:
        return [row[0] for row in await self.pool.fetch(query, *arguments)]


def rim_of(pool: Pool, ledger: Ledger) -> Rim:
    """A worker's rim as far as sending needs it."""
    return Rim(
        pool=pool,
        model=cast(Any, None),
        leases=cast(Any, None),
        publisher=Silent(),
        fence=Passed(),
        adapter=lambda channel, config: ledger,
        process_id="test",
        switched_off=frozenset(),
        crash_point=lambda name: None,
        deliver_soon=lambda: None,
        run_ended=lambda: None,
        wait=asyncio.sleep,
    )


@asynccontextmanager
async def sending(database: Database, count: int, *, scheduled: bool = True) -> AsyncIterator[Sending]:
    """`count` drafts: automatic and due when `scheduled`, else open reviews."""
    pool, ledger = await create_pool(database.url, size=CONNECTIONS, application="sending"), Ledger()
    ids = [derive("draft", WORKSPACE, f"m-{number}", "chat") for number in range(count)]
    try:
        await _seed(pool, ids)
        await (_schedule(pool) if scheduled else _ask(pool))
        yield Sending(pool, ids, ledger, rim_of(pool, ledger))
    finally:
        await _clear(pool)
        await pool.close()


async def _clear(pool: Pool) -> None:
    """Leave the database as it was found: the next test shares it."""
    await pool.execute(
        "DELETE FROM workspace; DELETE FROM outbox; DELETE FROM restore_quarantine; UPDATE kill_switch SET disabled = false"
    )


async def _seed(pool: Pool, ids: list[uuid.UUID]) -> None:
    """Leads, messages, finished runs with their context, judged drafts."""
    await pool.execute("INSERT INTO workspace (id, default_mode) VALUES ($1, 'AI_AUTO_SEND')", WORKSPACE)
    await pool.execute("INSERT INTO workspace_settings (workspace_id, quiet_window_s) VALUES ($1, 0)", WORKSPACE)
    numbers = list(range(len(ids)))
    await pool.execute("INSERT INTO lead (workspace_id, lead_id) SELECT $1, 'l-' || n FROM unnest($2::int[]) n",
                       WORKSPACE, numbers)  # fmt: skip
    await pool.execute(
        "INSERT INTO message (id, workspace_id, lead_id, channel, message_id, direction, mode, body, disposition,"
        " received_at) SELECT gen_random_uuid(), $1, 'l-' || n, 'chat', 'm-' || n, 'inbound', 'AI_AUTO_SEND', 'hello',"
        " 'run', now() FROM unnest($2::int[]) n", WORKSPACE, numbers,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, status,"
        " phase, reason, policy_revision, lease_owner, lease_until, finished_at) SELECT gen_random_uuid(), $1,"
        " 'l-' || n, 'm-' || n, id, 'chat', 'COMPLETED', 'done', 'confident', 1, 'w', now(), now()"
        " FROM unnest($2::int[], $3::uuid[]) g (n, id)", WORKSPACE, numbers, ids,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO draft_run_context (run_id, snapshot, context_pack)"
        " SELECT id, $1, $2 FROM draft_pipeline_run", snapshot().model_dump(mode="json"),
        DraftRunContextPack().model_dump(mode="json"),
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO ai_draft (id, run_id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, mode, channel,"
        " recipient, content, original_content, content_sha256, policy_revision, auto_send_confidence,"
        " auto_send_threshold) SELECT r.draft_id, r.id, $1, r.lead_id, r.trigger_message_id, m.ingest_seq,"
        " 'AI_AUTO_SEND', 'chat', r.lead_id, $2, $2, $3, 1, 0.95, 0.9 FROM draft_pipeline_run r"
        " JOIN message m ON m.message_id = r.trigger_message_id", WORKSPACE, TEXT, sha256_of(TEXT),
    )  # fmt: skip


async def _schedule(pool: Pool) -> None:
    """Each draft has an automatic send that is due."""
    await pool.execute(
        "UPDATE ai_draft SET status = 'scheduled', auto_send_action = 'send_delayed', outcome_sequence = 1"
    )
    await pool.execute(
        "INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, automatic, recipient,"
        " content, content_sha256, delayed) SELECT gen_random_uuid(), id, workspace_id, lead_id, trigger_message_id,"
        " channel, true, recipient, content, content_sha256, true FROM ai_draft"
    )


async def _ask(pool: Pool) -> None:
    """Each draft waits for a person."""
    await pool.execute("UPDATE ai_draft SET auto_send_action = 'needs_review', outcome_sequence = 1")
    await pool.execute(
        "INSERT INTO review_request (id, draft_id, workspace_id, reason, expires_at)"
        " SELECT gen_random_uuid(), id, workspace_id, 'below_threshold', now() + interval '1 day' FROM ai_draft"
    )


def snapshot() -> DraftRunSnapshot:
    """What a run pinned, as far as a check of its text needs it."""
    now = datetime.now(UTC)
    return DraftRunSnapshot(
        run_id=uuid.UUID(int=1),
        draft_id=uuid.UUID(int=2),
        workspace_id=WORKSPACE,
        workspace_name="Example",
        lead_id="l",
        channel=Channel.CHAT,
        thread_id="",
        campaign_id=None,
        mode=Mode.AI_AUTO_SEND,
        campaign_instructions="",
        settings=WorkspaceSettings(),
        policy=PolicyRules(revision=1),
        now=now,
        trigger=Turn(message_id="m", author="lead", body="hello", received_at=now),
        trigger_ingest_seq=1,
        recipient="l",
        profile=Profile(),
        conversation=[],
        knowledge=[],
        free_slots=[],
        bundle_enabled=False,
    )


async def gather(work: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """All of it, `PAIRS_AT_ONCE` at a time; the results in order."""
    room = asyncio.Semaphore(PAIRS_AT_ONCE)

    async def one(each: Callable[[], Awaitable[Any]]) -> Any:
        async with room:
            return await each()

    return list(await asyncio.gather(*(one(each) for each in work)))


async def race(first: Awaitable[Any], second: Awaitable[Any], dice: random.Random) -> tuple[Any, Any]:
    """Both at once; sometimes one has a head start of some milliseconds."""
    delays = [0.0, 0.0]
    delays[dice.randrange(2)] = dice.choice((0.0, dice.uniform(0, HEAD_START_S_MAX)))

    async def after(delay_s: float, work: Awaitable[Any]) -> Any:
        await asyncio.sleep(delay_s)
        return await work

    one, other = await asyncio.gather(after(delays[0], first), after(delays[1], second))
    return one, other


async def actions(
    many: Sending, actor: str, action: str = "approve", shown: dict[str, Any] | None = None, **columns: Any
) -> list[ReviewCommand]:
    """What `actor` does to every draft, recorded as the web and Slack record it; `columns` of `review_action`, and
    `shown` where it differs from what they were shown."""
    ids = [uuid.uuid4() for _ in many.ids]
    given = {"content_sha256": sha256_of(TEXT)} | columns
    names, places = ", ".join(given), ", ".join(f"${number}" for number in range(7, 7 + len(given)))
    bindings = [seen(number, draft, given["content_sha256"]) | (shown or {}) for number, draft in enumerate(many.ids)]
    await many.pool.execute(
        f"INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action, binding, {names})"
        f" SELECT id, draft, $3, $4, 'web', $5, binding, {places}"
        " FROM unnest($1::uuid[], $2::uuid[], $6::jsonb[]) g (id, draft, binding)",
        ids, many.ids, WORKSPACE, actor, action, bindings, *given.values(),
    )  # fmt: skip
    return [
        ReviewCommand(
            event_id=uuid.uuid4(),
            occurred_at=datetime.now(UTC),
            workspace_id=WORKSPACE,
            lead_id=f"l-{number}",
            draft_id=draft,
            review_action_id=identity,
        )
        for number, (draft, identity) in enumerate(zip(many.ids, ids, strict=True))
    ]


def seen(number: int, draft: uuid.UUID, content_sha256: str) -> dict[str, Any]:
    """What a person was shown of draft `number`."""
    return Binding(
        draft_id=str(draft),
        workspace_id=WORKSPACE,
        content_sha256=content_sha256,
        recipient_sha256=sha256_of(f"l-{number}"),
        newest_seq=0,
        policy_revision=1,
        expires_at=datetime.now(UTC).timestamp() + 3_600,
    ).columns()


def arrives(number: int) -> Incoming:
    """The lead of draft `number` writes again."""
    value = {
        "schema_version": 1, "message_id": f"newer-{number}", "workspace_id": WORKSPACE, "lead_id": f"l-{number}",
        "channel": "chat", "received_at": datetime.now(UTC).isoformat(), "body": "one more thing",
    }  # fmt: skip
    return Incoming("inbound-message", number % 12, number, 0.0, None, json.dumps(value).encode())


async def writes_again(many: Sending, number: int = 0) -> None:
    """The lead of draft `number` writes again, and ingest has it."""
    async with transaction(many.pool) as connection:
        await ingest_batch(connection, [arrives(number)], frozenset())


async def delivery_of(one: Sending) -> asyncpg.Record:
    """The newest delivery with its draft's and its review's standing."""
    row = await one.pool.fetchrow(
        "SELECT x.*, d.status AS draft_status, d.auto_send_action AS action, d.auto_send_reason AS draft_reason,"
        " d.hard_blocks, (SELECT q.status || ':' || q.reason FROM review_request q WHERE q.draft_id = d.id) AS review"
        " FROM delivery x JOIN ai_draft d ON d.id = x.draft_id ORDER BY x.created_at DESC LIMIT 1"
    )
    assert row is not None
    return row


async def attempt(one: Sending) -> asyncpg.Record:
    """Take what is due, now or after a pause, and bring it as far as it goes; its delivery then."""
    await one.pool.execute("UPDATE delivery SET retry_at = now() WHERE finished_at IS NULL")
    await one.deliver_rest()
    return await delivery_of(one)
