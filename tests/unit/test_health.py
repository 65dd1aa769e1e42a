"""Promises of liveness and readiness, and of the silence they listen to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.health import Health
from app.kafka.silence import Silence

LONG_S = 1_000.0


class Postgres:
    """Answers, or does not."""

    def __init__(self) -> None:
        self.away = False

    async def fetchval(self, query: str) -> int:
        if self.away:
            raise TimeoutError
        return 1


def engine(topic: str) -> Any:
    silence = SimpleNamespace(seconds=0.0)
    return SimpleNamespace(topic=topic, stalled_s=0.0, crashed=False, silence=silence)


@pytest.fixture
def worker() -> Any:
    """What `Health` looks at, all of it well."""
    return SimpleNamespace(
        pool=Postgres(),
        keeper=SimpleNamespace(looked_at=time.monotonic()),
        ingest=SimpleNamespace(silent_s=0.0, consuming=True, broker_silent_s=0.0),
        engines={"draft-requested": engine("draft-requested")},
        pools={"draft-requested": SimpleNamespace(paused=False)},
    )


def health(worker: Any) -> Health:
    return Health(cast("Any", worker))


async def test_a_worker_that_works_is_alive_and_ready(worker: Any) -> None:
    """No reason against it."""
    assert health(worker).dead() == []
    assert await health(worker).not_ready() == []


async def test_a_silent_broker_makes_a_worker_unready_and_leaves_it_alive(worker: Any) -> None:
    """A restart heals no broker: only readiness says so, for each agent and for ingest."""
    worker.engines["draft-requested"].silence.seconds = LONG_S
    worker.ingest.broker_silent_s = LONG_S
    assert health(worker).dead() == []
    found = await health(worker).not_ready()
    assert found == ["broker_silent:draft-requested", "broker_silent:inbound-message"]


async def test_a_crashed_consumer_is_told_of_as_crashed(worker: Any) -> None:
    """It has no requests under way, so its silence says nothing."""
    worker.engines["draft-requested"].crashed = True
    worker.engines["draft-requested"].silence.seconds = LONG_S
    assert await health(worker).not_ready() == ["not_consuming:draft-requested"]


async def test_a_loop_that_stands_still_asks_for_a_restart(worker: Any) -> None:
    """The fetch loop, the ingest process and the renewal of leases: each by itself makes the process dead."""
    worker.engines["draft-requested"].stalled_s = LONG_S
    worker.keeper.looked_at -= LONG_S
    worker.ingest.silent_s = LONG_S
    assert health(worker).dead() == ["ingest_silent", "leases_not_renewed", "fetch_stalled:draft-requested"]


async def test_a_database_that_is_away_makes_a_worker_unready(worker: Any) -> None:
    """It is alive: it waits in place."""
    worker.pool.away = True
    assert health(worker).dead() == []
    assert await health(worker).not_ready() == ["database_away"]


# ---- silence


class Client:
    """As much of aiokafka's client as is listened to."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[str]] = []
        self.cluster = SimpleNamespace(broker_metadata=lambda node: None if node == "gone" else node)

    async def send(self, node: object, request: object, *, group: object = None) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer


class Fetch:
    """One kind of request."""


class Heartbeat:
    """Another one."""


class Clock:
    """Seconds that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


_sending: list[asyncio.Task[str]] = []


async def sent(client: Client, node: str, request: object) -> asyncio.Task[str]:
    task = asyncio.create_task(client.send(node, request))
    _sending.append(task)
    await asyncio.sleep(0)
    return task


@pytest.fixture
async def listening() -> AsyncIterator[tuple[Silence, Client, Clock]]:
    """Requests that nobody answered are given up at the end."""
    clock, client = Clock(), Client()
    silence = Silence(clock)
    silence.watch(client)
    yield silence, client, clock
    for task in _sending:
        task.cancel()
    await asyncio.gather(*_sending, return_exceptions=True)
    _sending.clear()


async def test_hearts_that_beat_do_not_hide_fetches_that_hang(listening: tuple[Silence, Client, Clock]) -> None:
    """An answer ends the silence of its own kind of request only."""
    silence, client, clock = listening
    _ = await sent(client, "1", Fetch())
    clock.now += 10
    heartbeat = await sent(client, "1", Heartbeat())
    client.answers[1].set_result("beats")
    await heartbeat
    assert silence.seconds == 10
    client.answers[0].set_result("records")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert silence.seconds == 0


async def test_a_request_that_failed_was_not_answered(listening: tuple[Silence, Client, Clock]) -> None:
    """Time-outs do not end the silence; the next attempt goes on from the first."""
    silence, client, clock = listening
    failed = await sent(client, "1", Fetch())
    clock.now += 40
    client.answers[0].set_exception(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await failed
    _ = await sent(client, "1", Fetch())
    clock.now += 1
    assert silence.seconds == 41


async def test_who_left_the_cluster_or_is_not_waited_for_owes_nothing(
    listening: tuple[Silence, Client, Clock],
) -> None:
    """A node that is gone, and a request that was given up, are no silence."""
    silence, client, clock = listening
    _ = await sent(client, "gone", Fetch())
    given_up = await sent(client, "1", Fetch())
    clock.now += 50
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert silence.seconds == 0
