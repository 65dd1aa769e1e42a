"""`produce`, `dead-letters`, `lag` and `idle`, on a real broker."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.cli import letters
from app.cli.producing import line_of
from app.cli.shell import Problem
from app.kafka.producer import new_producer
from app.stack.local import LocalStack
from db import sql
from schemas.topics import DEAD_LETTER, INBOUND_MESSAGE
from tests.cli.conftest import Cli, config_of
from tests.story.harness import frozen

SECRET = "please call me on my private number"


def message(identity: str, **more: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "message_id": identity,
        "workspace_id": "ws-1",
        "lead_id": f"lead-{identity}",
        "channel": "chat",
        "received_at": "2026-11-02T08:00:00Z",
        "body": SECRET,
        **more,
    }


async def records(env: dict[str, str], topic: str) -> list[Any]:
    """Everything on a topic."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"], auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, each) for each in consumer.partitions_for_topic(topic)]
        left = sum((await consumer.end_offsets(partitions)).values())
        found: list[Any] = []
        while len(found) < left:
            for batch in (await consumer.getmany(timeout_ms=1000)).values():
                found += batch
        return found
    finally:
        await consumer.stop()


async def letter(env: dict[str, str], value: bytes, reason: str, topic: str = INBOUND_MESSAGE.name) -> None:
    """A dead letter as the pipeline writes it."""
    producer = new_producer(config_of(env))
    await producer.start()
    headers = {"dlq_reason": reason, "dlq_error": "workspace_id: unknown", "dlq_topic": topic, "dlq_partition": "3"}
    headers |= {"dlq_offset": "14", "dlq_attempts": "1", "dlq_at": "2026-11-02T08:00:00Z"}
    encoded = [(name, text.encode()) for name, text in headers.items()]
    await producer.send_and_wait(DEAD_LETTER.name, value, key=b"lead-7", headers=encoded)
    await producer.stop()


async def test_lines_arrive_byte_for_byte_under_their_leads_key(env: dict[str, str], cli: Cli, tmp_path: Path) -> None:
    """Lines that break the contract are sent as they are, without a key where there is no lead."""
    mark = uuid.uuid4().hex
    lines = [
        json.dumps(message(mark)).encode(),
        f"no json {mark}".encode(),
        b'{"lead_id": 7, "x": "%s"}' % mark.encode(),
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n\n")

    ended = await cli("produce", "in.jsonl", "--json", env=env)

    assert ended.code == 0, ended.err
    told = ended.json
    assert (told["sent"], told["failed"], told["not_valid"], told["without_key"]) == (3, 0, 2, 2)
    found = [record for record in await records(env, INBOUND_MESSAGE.name) if mark.encode() in record.value]
    assert sorted(record.value for record in found) == sorted(lines)
    assert {record.value: record.key for record in found}[lines[0]] == f"lead-{mark}".encode()


async def test_check_sends_nothing_when_a_line_breaks_the_contract(env: dict[str, str], cli: Cli) -> None:
    """The error names line and field, never what stands there."""
    mark = uuid.uuid4().hex
    lines = [json.dumps(message(mark)), json.dumps(message(mark, channel=SECRET))]

    ended = await cli("produce", "-", "--check", env=env, stdin="\n".join(lines).encode())

    assert ended.code == 1
    assert "line 2: invalid_field: channel" in ended.err
    assert SECRET not in ended.err
    assert not [record for record in await records(env, INBOUND_MESSAGE.name) if mark.encode() in record.value]


def test_now_replaces_the_time_of_a_message_only() -> None:
    """Every other field stays, and what is no message is not touched."""
    line = line_of(json.dumps(message("m")).encode(), now=True)
    assert json.loads(line.value) | {"received_at": ""} == message("m", received_at="")
    assert json.loads(line.value)["received_at"] > "2026-11-02T08:00:01"
    assert line_of(b"no json", now=True).value == b"no json"


async def test_a_rate_paces(env: dict[str, str], cli: Cli) -> None:
    """Ten records at twenty a second take about half a second."""
    lines = "\n".join(json.dumps(message(f"{uuid.uuid4().hex}")) for _ in range(10))
    ended = await cli("produce", "-", "--rate", "20", "--json", env=env, stdin=lines.encode())
    assert ended.json["seconds"] >= 9 / 20


async def test_a_dead_letter_is_listed_shown_masked_and_sent_again(
    env: dict[str, str], connection: asyncpg.Connection, cli: Cli
) -> None:
    """`retry` sends original bytes and key once; the second time it remembers."""
    original = json.dumps(message(uuid.uuid4().hex)).encode()
    reason = f"test_{uuid.uuid4().hex}"
    await letter(env, original, reason)

    listed = (await cli("dead-letters", "list", "--reason", reason, "--json", env=env)).json
    place = listed["newest"][0]["place"]
    shown = await cli("dead-letters", "show", place, env=env)
    raw = await cli("dead-letters", "show", place, "--raw", env=env)
    dry = await cli("dead-letters", "retry", "--reason", reason, "--dry-run", env=env)
    assert listed["by_reason"] == [{"reason": reason, "topic": "inbound-message", "letters": 1}]
    assert SECRET not in shown.out
    assert f"<text, {len(SECRET)} characters>" in shown.out
    assert raw.out.encode() == original
    assert "none was" in dry.out
    assert not [each for each in await records(env, INBOUND_MESSAGE.name) if each.value == original]

    retried = await cli("dead-letters", "retry", "--reason", reason, "--json", env=env)
    again = await cli("dead-letters", "retry", "--reason", reason, "--json", env=env)
    found = [each for each in await records(env, INBOUND_MESSAGE.name) if each.value == original]
    assert (retried.json["sent"], again.json["sent"]) == (1, 0)
    assert "--again" in again.err
    assert [each.key for each in found] == [b"lead-7"]
    assert await connection.fetchval("SELECT subject FROM admin_audit WHERE action = 'dead-letter-retry'") == place


async def test_a_broker_that_falls_silent_is_no_end_of_the_letters(
    broker: LocalStack, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read until then is no answer: a Problem, exit code 1."""
    monkeypatch.setattr(letters, "_SILENT_POLLS_MAX", 2)
    for _ in range(5):
        await letter(env, bytes(4 * 1024 * 1024), "large")
    reading = letters.read_letters(config_of(env))
    await anext(reading)
    with frozen(broker), pytest.raises(Problem, match="fell silent"):
        [each async for each in reading]


async def test_a_letter_that_holds_only_a_hash_is_not_sent(env: dict[str, str], cli: Cli) -> None:
    """Its original stands at the source; the marker must not become a message."""
    reason = f"test_{uuid.uuid4().hex}"
    await letter(env, json.dumps({"omitted": "too_large", "bytes": 9, "sha256": "0" * 64}).encode(), reason)
    ended = await cli("dead-letters", "retry", "--reason", reason, "--json", env=env)
    assert ended.json["sent"] == 0
    assert "hold only a hash" in ended.err


async def test_lag_counts_what_nobody_consumed(env: dict[str, str], cli: Cli) -> None:
    """Without a worker every record lags."""
    before = await _lag(env, cli)
    await cli("produce", "-", env=env, stdin=json.dumps(message(uuid.uuid4().hex)).encode())
    assert await _lag(env, cli) == before + 1


async def _lag(env: dict[str, str], cli: Cli) -> int:
    told = (await cli("lag", "--json", env=env)).json
    return sum(each["lag"] for each in told["partitions"] if each["topic"] == INBOUND_MESSAGE.name)


async def test_a_watermark_of_a_lost_topic_hides_no_lag(
    env: dict[str, str], connection: asyncpg.Connection, cli: Cli
) -> None:
    """Beyond the end it says nothing of the records that are there: `lag` counts them, `doctor` says what happened."""
    await cli("produce", "-", env=env, stdin=json.dumps(message(uuid.uuid4().hex)).encode())
    before = await _lag(env, cli)
    every = list(range(INBOUND_MESSAGE.partitions))
    await sql.ingest.advance_watermarks.run(
        connection, topic=INBOUND_MESSAGE.name, partitions=every, next_offsets=[10**9] * len(every)
    )
    assert await _lag(env, cli) == before
    assert (await cli("lag", "--json", env=env)).json["watermarks_beyond_end"] == every
    assert "beyond the end" in (await cli("lag", env=env)).out
    checks = (await cli("doctor", "--json", env=env)).json["checks"]
    assert next(check["state"] for check in checks if check["name"] == "watermarks") == "PROBLEM"


async def test_idle_tells_what_is_left(env: dict[str, str], connection: asyncpg.Connection, cli: Cli) -> None:
    """Exit code 1 while records, waiting rows or due sends are left; 0 when nothing is."""
    await cli("produce", "-", env=env, stdin=json.dumps(message(uuid.uuid4().hex)).encode())
    busy = await cli("idle", "--timeout", "0.5", "--json", env=env)
    assert busy.code == 1
    assert busy.json["left"]["lag inbound-message"] >= 1

    await _everything_ingested(env, connection)
    quiet = await cli("idle", "--timeout", "10", env=env)
    assert (quiet.code, quiet.out.strip()) == (0, "idle: nothing is left to do")

    await connection.execute("INSERT INTO outbox (event_id, topic) VALUES (gen_random_uuid(), 'draft-outcome')")
    unpublished = await cli("idle", "--timeout", "0.5", "--json", env=env)
    assert unpublished.json["left"] == {"unpublished_events": 1}


async def _everything_ingested(env: dict[str, str], connection: asyncpg.Connection) -> None:
    """The watermark says so; nothing is committed in Kafka."""
    consumer = AIOKafkaConsumer(INBOUND_MESSAGE.name, bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"])
    await consumer.start()
    partitions = [TopicPartition(INBOUND_MESSAGE.name, each) for each in range(INBOUND_MESSAGE.partitions)]
    ends = await consumer.end_offsets(partitions)
    await consumer.stop()
    await sql.ingest.advance_watermarks.run(
        connection,
        topic=INBOUND_MESSAGE.name,
        partitions=[tp.partition for tp in ends],
        next_offsets=list(ends.values()),
    )
