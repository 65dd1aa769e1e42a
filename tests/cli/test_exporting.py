"""`export` of a topic that is no longer the one that was exported."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.contract import examples
from app.exporting.files import STATE
from app.kafka.producer import new_producer
from schemas.topics import DRAFT_OUTCOME
from tests.cli.conftest import Cli, config_of

PARTITION = 5


async def publish(env: dict[str, str]) -> str:
    """One event on a partition of the topic; returns its id."""
    event = examples.payload(DRAFT_OUTCOME.name) | {"event_id": str(uuid.uuid4())}
    producer = new_producer(config_of(env))
    await producer.start()
    await producer.send_and_wait(DRAFT_OUTCOME.name, json.dumps(event).encode(), key=b"l", partition=PARTITION)
    await producer.stop()
    return str(event["event_id"])


def exported(root: Path) -> list[str]:
    files = sorted(root.glob(f"{DRAFT_OUTCOME.name}/day=*/*.parquet"))
    return [each for file in files for each in pq.read_table(file, partitioning=None)["event_id"].to_pylist()]


@pytest.mark.parametrize("interrupted", [False, True])
async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    env: dict[str, str], cli: Cli, tmp_path: Path, interrupted: bool
) -> None:
    """Its end lies before what was read, or was to be read, of the old one: that is said, nothing is skipped, and no
    event is written twice."""
    command = ("export", "--dir", str(tmp_path / "lake"), "--only", DRAFT_OUTCOME.name)
    first = await publish(env)
    before = await cli(*command, env=env)
    assert before.code == 0, before.err
    state_file = tmp_path / "lake" / STATE
    state = json.loads(state_file.read_text())
    place = state["topics"][DRAFT_OUTCOME.name]
    if interrupted:
        place["target"] = place["done"] | {str(PARTITION): 1_000}
    else:
        place["done"][str(PARTITION)] = 1_000
    state_file.write_text(json.dumps(state))

    second = await publish(env)
    ended = await cli(*command, env=env)
    assert (ended.code, "made anew" in ended.err) == (0, True), ended.err
    found = exported(tmp_path / "lake")
    assert {first, second} <= set(found)
    assert len(found) == len(set(found))
    third = await publish(env)
    assert "made anew" not in (await cli(*command, env=env)).err
    assert third in exported(tmp_path / "lake")
