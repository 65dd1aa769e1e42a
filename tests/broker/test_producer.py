"""A producer that the broker no longer answers is let go whole."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka.errors import KafkaTimeoutError

from app.kafka import producer as producing
from app.kafka.inbound import InboundProducer
from app.kafka.topics import create_topics
from app.stack.local import LocalStack
from schemas.topics import INBOUND_MESSAGE
from tests.story.harness import config_of, frozen


async def test_a_producer_whose_stop_takes_too_long_leaves_nothing_behind(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the broker hangs, `stop` gives up in time, and no task and no connection of the producer lives on."""
    await create_topics(config_of(stack), 1)
    kept = InboundProducer(config_of(stack))
    others = asyncio.all_tasks()
    producer = await kept.started()
    await producer.send_and_wait(INBOUND_MESSAGE.name, b"x", key=b"x", partition=0)
    with frozen(stack):
        waiting = await producer.send(INBOUND_MESSAGE.name, b"y", key=b"y", partition=0)
        await asyncio.sleep(0.1)  # handed to the sender
        monkeypatch.setattr(producing, "_REQUEST_MS", 500)
        began = time.monotonic()
        await kept.stop()
        assert time.monotonic() - began < 3.0
        await asyncio.sleep(0.01)  # tasks that have ended are told so
        left = [task for task in asyncio.all_tasks() - others if not task.done()]
        connections = [each for each in producer.client._conns.values() if each.connected()]
    assert (left, connections) == ([], [])
    with pytest.raises(KafkaTimeoutError):
        await waiting
