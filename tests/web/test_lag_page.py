"""The lag page says what Kafka says and what `draft-pipeline lag` says, while a consumer works, stops and comes back."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.groups import GROUPS
from app.kafka.lagging import PartitionLag
from app.kafka.producer import new_producer
from app.web import lag_watch
from app.web.lag_watch import LagWatch
from db import sql
from schemas.codes import Role
from schemas.topics import DRAFT_EVALUATED, INBOUND_MESSAGE
from tests.lag_figures import Figures, kafka_figures
from tests.web.conftest import Site
from tests.web.seeding import OTHER, OWN

TOPIC, PARTITION = DRAFT_EVALUATED.name, 2
GROUP = GROUPS[TOPIC]
AGREE_S_MAX = 20.0


async def _produce(site: Site, count: int) -> None:
    producer = new_producer(site.web.config)
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(TOPIC, str(number).encode(), partition=PARTITION)
    await producer.stop()


async def _kafka(site: Site) -> Figures:
    return await kafka_figures(site.web.config.kafka_bootstrap_servers, TOPIC)


async def _page(site: Site, **filters: str) -> dict[str, Any]:
    async with site.program(Role.OPS) as client:
        told: dict[str, Any] = (await client.get("/api/lag", params=filters or None)).json()
    return told


def _figures(told: dict[str, Any]) -> Figures:
    rows = [each for each in told["partitions"] if each["topic"] == TOPIC]
    return {each["partition"]: (each["committed"], each["end"], each["lag"]) for each in rows}


async def _agreeing(site: Site, figures: Figures, state: str) -> dict[str, Any]:
    """The page, once it shows these figures and this state of the group."""

    def agrees(told: dict[str, Any]) -> bool:
        states = {each["state"] for each in told["topics"] if each["topic"] == TOPIC}
        return _figures(told) == figures and states == {state}

    return await _until(site, agrees)


async def _until(site: Site, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The page, once it shows what is awaited."""
    async with asyncio.timeout(AGREE_S_MAX):
        while True:
            told = await _page(site)
            if holds(told):
                return told
            await asyncio.sleep(0.1)


async def _command(site: Site) -> list[dict[str, Any]]:
    """What `draft-pipeline lag` says."""
    config = site.web.config
    addresses = {"DATABASE_URL": site.url, "KAFKA_BOOTSTRAP_SERVERS": config.kafka_bootstrap_servers or ""}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "lag", "--all", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **addresses},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    rows: list[dict[str, Any]] = json.loads(out)["partitions"]
    return rows


async def test_page_command_and_broker_agree(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody consumes, with two members on one host, while one has committed a part, after it left, when it is back."""
    monkeypatch.setattr(lag_watch, "READ_S", 0.2)
    await _produce(site, 7)
    before = await _kafka(site)
    told = await _until(site, lambda told: _figures(told) == before)
    assert _members(told) == 0

    async with _member(site), _member(site):
        await _until(site, lambda told: _members(told) == 2)
    for done in (3, 5):
        async with _member(site) as consumer:
            await consumer.commit({TopicPartition(TOPIC, PARTITION): done})
            working = await _kafka(site)
            assert working[PARTITION] == (done, before[PARTITION][1], before[PARTITION][1] - done)
            told = await _agreeing(site, working, "Stable")
            row = next(each for each in told["partitions"] if (each["topic"], each["partition"]) == (TOPIC, PARTITION))
            assert row["member"].startswith("lag-test")
        told = await _agreeing(site, working, "Empty")
        assert {each["member"] for each in told["partitions"] if each["topic"] == TOPIC} == {"-"}

    names = ("group", "topic", "partition", "committed", "end", "lag", "member", "state")
    shown = [{name: each[name] for name in names} for each in (await _page(site))["partitions"]]
    assert shown == await _command(site)


def _members(told: dict[str, Any]) -> int:
    return int(next(each["members"] for each in told["topics"] if each["topic"] == TOPIC))


class _member:
    """A member of the group that owns the partitions of the topic."""

    def __init__(self, site: Site) -> None:
        self._consumer = AIOKafkaConsumer(
            TOPIC, bootstrap_servers=site.web.config.kafka_bootstrap_servers, group_id=GROUP, client_id="lag-test",
            enable_auto_commit=False, auto_offset_reset="earliest",
        )  # fmt: skip

    async def __aenter__(self) -> AIOKafkaConsumer:
        await self._consumer.start()
        async with asyncio.timeout(AGREE_S_MAX):
            while not self._consumer.assignment():  # noqa: ASYNC110 - the consumer has no event for it
                await asyncio.sleep(0.05)
        return self._consumer

    async def __aexit__(self, *error: object) -> None:
        await self._consumer.stop()


async def test_filters_choose_a_topic_and_what_has_lag(site: Site) -> None:
    """In the URL; the figures of the groups stay."""
    await _until(site, lambda told: bool(told["topics"]))
    told = await _page(site, topic=INBOUND_MESSAGE.name)
    assert {each["topic"] for each in told["partitions"]} == {INBOUND_MESSAGE.name}
    assert [each["topic"] for each in told["topics"]] == list(GROUPS)
    assert all(each["lag"] for each in (await _page(site, waiting="true"))["partitions"])


async def test_requests_that_wait_in_the_outbox_stand_beside_lag(site: Site) -> None:
    """By workspace, with its limit; ops of one workspace see their own."""
    ids = [
        await site.db.fetchval(
            "INSERT INTO outbox (event_id, topic, workspace_id, conversation, message_id, not_before) VALUES"
            " (gen_random_uuid(), 'draft-requested', $1, 'c', 'm', now() + interval '1 hour') RETURNING id",
            workspace,
        )
        for workspace in (OWN, OTHER)
    ]
    try:
        told = await _page(site)
        assert {each["workspace_id"]: each["waiting"] for each in told["requests"]} == {OWN: 1, OTHER: 1}
        assert told["waiting"]["waiting_requests"] == (await sql.ops.left_to_do.one(site.db))["waiting_requests"]
        async with site.program(Role.OPS, OWN) as client:
            own = (await client.get("/api/lag")).json()
        assert [each["workspace_id"] for each in own["requests"]] == [OWN]
        assert "waiting" not in own
        assert not {"topics", "partitions", "history", "events"} & own.keys()
        async with site.program(Role.OPS, OWN) as client:
            page = (await client.get("/lag")).text
        assert "1 request waits for its turn." in page
        assert INBOUND_MESSAGE.name not in page
    finally:
        await site.db.execute("DELETE FROM outbox WHERE id = ANY ($1)", ids)


# ---- seconds, pure


def _watch(site: Site, readings: list[tuple[float, int, int]]) -> LagWatch:
    """A watch that saw these: seconds, end, done."""
    watch = LagWatch(site.web.config, site.web.pool)
    for at, end, done in readings:
        watch.note([PartitionLag(GROUP, TOPIC, PARTITION, done, end, end - done, "m", "Stable")], at)
    return watch


async def test_seconds_of_lag_and_time_to_drain_follow_from_readings(site: Site) -> None:
    """100 arrived at second 0; 20 were done in the last 10 s: the next one is 110 s old, 80 take 40 s more."""
    standing = _watch(site, [(-0.1, 0, 0), (0, 100, 0), (100, 100, 0), (110, 100, 20)]).partitions()[0]
    assert standing.lag == 80
    assert standing.age_s == pytest.approx(110, abs=0.2)
    assert standing.drained_in_s == pytest.approx(40.0, rel=0.01)


async def test_what_does_not_shrink_has_no_end_in_sight(site: Site) -> None:
    """None, which is not 0; nothing waiting is drained now."""
    assert _watch(site, [(0, 0, 0), (10, 100, 5)]).partitions()[0].drained_in_s is None
    assert _watch(site, [(0, 5, 0), (10, 5, 5)]).partitions()[0].drained_in_s == 0.0


async def test_the_history_keeps_the_highest_of_each_step(site: Site) -> None:
    """A peak between two points of the drawing is not lost, and the points are few."""
    peak = 123 * lag_watch.READ_S
    watch = _watch(site, [(n * 5.0, 1000, 0 if n * 5.0 == peak else 990) for n in range(720)])
    history = watch.history()
    assert len(history) <= lag_watch.POINTS_SHOWN + 1
    assert max(lags[TOPIC] for _, lags in history) == 1000
    assert history[0][0] == datetime.fromtimestamp(0, UTC)
    assert history[-1][0] - history[0][0] <= timedelta(hours=1)
