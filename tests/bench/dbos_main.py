"""The other side of `dbos`: the four calls of a run as steps of a DBOS workflow, started from Kafka, same Postgres.

A record starts the workflow under an id made of its topic, partition and offset, so that a redelivery starts nothing;
at most as many as the worker has run at a time. A line `wait N` is answered when N workflows have ended.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import Any, Final

import openai
import uvloop
from aiokafka import AIOKafkaConsumer
from dbos import DBOS, DBOSConfig, SetWorkflowID

from tests.bench.bare_main import arguments_of, headers_of, plain_client
from tests.bench.sameness import Assignment, read_assignment

TOPIC: Final = "dbos-inbound"
DATABASE: Final = "bench_dbos"
_POOL_SIZE: Final = 24


class Model:
    """What the steps call; set before anything starts."""

    client: openai.AsyncOpenAI
    assignment: Assignment


@DBOS.step()
async def call_model(number: int, run_id: str) -> str:
    """One of the four requests."""
    call = Model.assignment.calls[number]
    headers = headers_of(call, uuid.UUID(run_id))
    response: Any = await Model.client.responses.create(**arguments_of(call), extra_headers=headers)
    return str(response.output_text)


@DBOS.workflow()
async def standard_run(body: str) -> str:
    """The four steps; DBOS records each one's answer."""
    run_id, said = str(uuid.uuid4()), ""
    for number in range(len(Model.assignment.calls)):
        said = await call_model(number, run_id)
    return said


class Consumer:
    """Kafka to workflows."""

    def __init__(self, assignment: Assignment) -> None:
        self._room = asyncio.Semaphore(assignment.in_flight)
        self._bootstrap = assignment.kafka
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended = 0
        self.progress = asyncio.Condition()

    async def run(self) -> None:
        consumer = AIOKafkaConsumer(
            TOPIC, bootstrap_servers=self._bootstrap, group_id="dbos", auto_offset_reset="earliest"
        )
        await consumer.start()
        async for record in consumer:
            await self._room.acquire()
            task = asyncio.create_task(self._one(record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, record: Any) -> None:
        try:
            with SetWorkflowID(f"{record.topic}-{record.partition}-{record.offset}"):
                handle = await DBOS.start_workflow_async(standard_run, record.value.decode())
            await handle.get_result()
        finally:
            self._room.release()
        async with self.progress:
            self.ended += 1
            self.progress.notify_all()

    async def wait(self, count: int) -> None:
        async with self.progress:
            await self.progress.wait_for(lambda: self.ended >= count)


def launch(assignment: Assignment) -> None:
    """DBOS with a database of its own on the same server, quiet, nothing sent anywhere."""
    url = assignment.database_url.rpartition("/")[0]
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"{url}/{DATABASE}",
        "sys_db_pool_size": _POOL_SIZE,
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    DBOS(config=config)
    DBOS.launch()


async def main(path: Path) -> None:
    """Answer lines on stdin until it closes."""
    assignment = read_assignment(path)
    Model.assignment, Model.client = assignment, plain_client(assignment)
    launch(assignment)
    consumer = Consumer(assignment)
    consuming = asyncio.create_task(consumer.run())
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await consumer.wait(int(line.split()[1]))
        print(consumer.ended, flush=True)
    consuming.cancel()
    DBOS.destroy()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
