"""`restore-quarantine`: after commits were lost nothing goes out by itself, nothing is lost, nothing is stuck."""

from __future__ import annotations

import json
import uuid
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from agents.delivering import deliver
from app.groups import GROUPS
from db import sql
from schemas.topics import INBOUND_MESSAGE
from tests.cli.conftest import Cli
from tests.conftest import Database
from tests.db.sending import WORKSPACE, Sending, sending

TOPIC = INBOUND_MESSAGE.name
REASON = ("--reason", "restored to 14:00 UTC")


async def committed_at(env: dict[str, str], offset: int, partition: int = 0) -> None:
    """The ingest group has read and committed records that the database may have forgotten."""
    servers = env["KAFKA_BOOTSTRAP_SERVERS"]
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for _ in range(offset):
            await producer.send_and_wait(TOPIC, b"{}", partition=partition)
    tp = TopicPartition(TOPIC, partition)
    async with AIOKafkaConsumer(
        bootstrap_servers=servers, group_id=GROUPS[TOPIC], enable_auto_commit=False
    ) as consumer:
        consumer.assign([tp])
        await consumer.commit({tp: OffsetAndMetadata(offset, "")})


async def committed(env: dict[str, str], partition: int = 0) -> int | None:
    tp = TopicPartition(TOPIC, partition)
    async with AIOKafkaConsumer(
        bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"], group_id=GROUPS[TOPIC], enable_auto_commit=False
    ) as consumer:
        found: int | None = await consumer.committed(tp)
    return found


async def publish(many: Sending, topic: str, value: dict[str, Any]) -> int:
    """An event that was published before the restore."""
    row: int = await many.pool.fetchval(
        "INSERT INTO outbox (event_id, topic, key, value, workspace_id, published_at)"
        " VALUES ($1, $2, $3, $4, $5, now()) RETURNING id",
        uuid.uuid4(), topic, b"k", json.dumps(value).encode(), WORKSPACE,
    )  # fmt: skip
    return row


async def test_what_was_not_sent_is_decided_by_people(cli: Cli, env: dict[str, str], database: Database) -> None:
    """Scheduled sends become reviews, with an event each; a second call finds none; who did it is on record."""
    async with sending(database, 3) as many:
        told = (await cli("restore-quarantine", *REASON, "--json", env=env)).json
        assert (told["scheduled_sends"], told["put_to_review"]) == (3, 3)
        waiting = await many.pool.fetch(
            "SELECT d.status, d.auto_send_action, x.status AS send, q.status AS review, q.reason FROM ai_draft d"
            " JOIN delivery x ON x.draft_id = d.id JOIN review_request q ON q.draft_id = d.id"
        )
        assert {tuple(row) for row in waiting} == {("pending", "needs_review", "cancelled", "open", "quarantined")}
        assert await many.column("SELECT count(*) FROM outbox WHERE topic = 'draft-outcome'") == [3]
        assert (await cli("restore-quarantine", *REASON, "--json", env=env)).json["put_to_review"] == 0
        audited = await many.column("SELECT reason FROM admin_audit WHERE action = 'restore-quarantine'")
        assert audited == ["restored to 14:00 UTC"] * 2


async def test_a_message_of_before_is_never_answered_by_itself_again(
    cli: Cli, env: dict[str, str], database: Database
) -> None:
    """A send that is only decided after the restore, on a message of before, asks a person at its claim."""
    async with sending(database, 1) as many:
        await many.pool.execute("UPDATE delivery SET scheduled_for = now() + interval '1 hour', status = 'claimed'")
        assert (await cli("restore-quarantine", *REASON, env=env)).code == 0
        await many.pool.execute("UPDATE delivery SET scheduled_for = now(), status = 'scheduled'")
        await deliver(many.rim, (await many.take())[0])
        assert many.ledger.keys == []
        assert await many.column("SELECT reason FROM review_request") == ["quarantined"]
        standing = await sql.delivery.send_standing.one(many.pool, draft_id=many.ids[0])
        assert standing["quarantined"]


async def test_what_ingest_read_and_the_database_forgot_is_read_again(
    cli: Cli, env: dict[str, str], database: Database
) -> None:
    """The ingest group goes back to the watermark of the restored database, and never forward."""
    async with sending(database, 1) as many:
        await committed_at(env, 5, partition=0)
        await committed_at(env, 3, partition=1)
        await sql.ingest.advance_watermarks.run(many.pool, topic=TOPIC, partitions=[0, 1], next_offsets=[2, 9])
        dry = (await cli("restore-quarantine", "--dry-run", "--json", env=env)).json
        assert dry["rewound"] == [{"partition": 0, "committed": 5, "to": 2}]
        assert (await committed(env), await many.column("SELECT count(*) FROM restore_quarantine")) == (5, [0])
        await cli("restore-quarantine", *REASON, env=env)
        assert (await committed(env, 0), await committed(env, 1)) == (2, 3)


async def test_work_that_hangs_on_forgotten_events_goes_on(cli: Cli, env: dict[str, str], database: Database) -> None:
    """Of what was published, only that is published again which a RUNNING run or an open command waits for."""
    async with sending(database, 1) as many:
        draft, action = str(many.ids[0]), uuid.uuid4()
        await many.pool.execute(
            "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, attempt,"
            " phase, policy_revision, lease_owner, lease_until) VALUES (gen_random_uuid(), $1, 'l-0', 'm-0', $2, 'chat',"
            " 2, 'revise', 1, 'w', now())", WORKSPACE, many.ids[0],
        )  # fmt: skip
        await many.pool.execute("INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action)"
                                " VALUES ($1, $2, $3, 'ann', 'web', 'approve')", action, many.ids[0], WORKSPACE)  # fmt: skip
        wanted = [
            await publish(many, "draft-evaluated", {"draft_id": draft}),
            await publish(many, "review-command", {"review_action_id": str(action)}),
            await publish(many, "draft-requested", {"draft_id": str(uuid.uuid4())}),
        ]
        await publish(many, "draft-evaluated", {"draft_id": str(uuid.uuid4())})
        await publish(many, "revision-result", {"draft_id": draft})
        await publish(many, "review-command", {"review_action_id": str(uuid.uuid4())})
        told = (await cli("restore-quarantine", *REASON, "--json", env=env)).json
        assert told["events_published_again"] == 3
        waiting = await many.column(
            "SELECT id FROM outbox WHERE published_at IS NULL AND topic <> 'draft-outcome' ORDER BY id"
        )
        assert waiting == wanted


async def test_it_asks_for_a_reason_and_for_workers_to_be_stopped(
    cli: Cli, env: dict[str, str], database: Database
) -> None:
    """While a worker lives nothing is touched."""
    assert (await cli("restore-quarantine", env=env)).code == 2
    async with sending(database, 1) as many:
        await sql.run.beat.run(many.pool, process_id="w1", role="worker", version="1", switches={}, figures={})
        ended = await cli("restore-quarantine", *REASON, env=env)
        assert (ended.code, "stop them first" in ended.err) == (1, True)
        assert await many.column("SELECT status FROM delivery") == ["scheduled"]
