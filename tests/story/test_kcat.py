"""The topics as kcat sees them: the snippets of their pages, and its figures beside the lag page's and Kafka's own."""

from __future__ import annotations

import json
import re

import aiohttp
import pytest

from tests import runbook
from tests.lag_figures import kafka_figures
from tests.story.desk import READABLE, WORKSPACE, Desk, message, snippets, taken
from tests.story.rows import row

pytestmark = pytest.mark.tools


async def test_the_kcat_that_writes_is_taken(desk: Desk) -> None:
    """With its trace, as one record."""
    message(desk, "by-kcat")
    await runbook.typed(snippets("inbound-message", "sh")[0], desk.env, desk.folder)
    await taken(desk, "by-kcat")


@pytest.mark.parametrize("topic", READABLE)
async def test_the_kcat_that_reads_prints_everything_and_ends(desk: Desk, topic: str) -> None:
    """One line an event."""
    await desk.flow.idle()
    printed = await runbook.typed(snippets(topic, "sh")[0], desk.env, desk.folder)
    ids = [json.loads(line.partition(" ")[2])["event_id"] for line in printed.splitlines() if not line.startswith("%")]
    events = [json.loads(record.value or b"") for record in await desk.flow.topic(topic)]
    assert sorted(ids) == sorted(event["event_id"] for event in events)
    assert ids


async def kcat_figures(desk: Desk, topic: str, committed: dict[int, int]) -> dict[int, tuple[int, int]]:
    """End and lag of each partition as kcat finds them: by asking, and by reading what lies after what was committed."""
    wanted = " ".join(f"-t {topic}:{partition}:-1" for partition in committed)
    ends = await runbook.typed(f'kcat -Q -b "$KAFKA_BOOTSTRAP_SERVERS" {wanted}', desk.env, desk.folder)
    found = {int(partition): int(end) for partition, end in re.findall(r"\[(\d+)\] offset (\d+)", ends)}
    unread = [
        f'kcat -C -q -e -b "$KAFKA_BOOTSTRAP_SERVERS" -t {topic} -p {partition} -o {offset} -f "%p\\n"'
        for partition, offset in committed.items()
        if offset < found[partition]
    ]
    lines = (await runbook.typed("\n".join(unread) or "true", desk.env, desk.folder)).split()
    return {partition: (found[partition], lines.count(str(partition))) for partition in committed}


async def agreed(desk: Desk, topic: str) -> int:
    """The lag page's figures, once they are Kafka's own; they are kcat's as well. The lag of all partitions."""
    kafka = await kafka_figures(desk.env["KAFKA_BOOTSTRAP_SERVERS"], topic)
    headers = {"authorization": f"Bearer {desk.env['TOKEN']}"}
    async with aiohttp.ClientSession(desk.env["PUBLIC_URL"], headers=headers) as session:

        async def same() -> bool:
            async with session.get("/api/lag") as response:
                rows = [each for each in (await response.json())["partitions"] if each["topic"] == topic]
            return {each["partition"]: (each["committed"], each["end"], each["lag"]) for each in rows} == kafka

        await desk.flow.until(same, 20.0, f"the page shows {kafka}")
    committed = {partition: figures[0] or 0 for partition, figures in kafka.items()}
    assert await kcat_figures(desk, topic, committed) == {each: told[1:] for each, told in kafka.items()}
    return sum(told[2] for told in kafka.values())


async def test_page_kcat_and_kafka_agree_while_workers_stop_and_start(desk: Desk) -> None:
    """At rest, with nobody there and nine messages waiting, and when a worker is back."""
    await desk.flow.idle()
    topics = ("inbound-message", "draft-requested", "draft-evaluated")
    lags = [[await agreed(desk, topic) for topic in topics]]
    await desk.flow.stop_workers()
    await desk.flow.produce([row(WORKSPACE, f"late-{number}", "!!confident hello") for number in range(9)])
    lags.append([await agreed(desk, topic) for topic in topics])
    await desk.flow.start()
    await desk.flow.idle()
    lags.append([await agreed(desk, topic) for topic in topics])
    assert lags == [[0, 0, 0], [9, 0, 0], [0, 0, 0]]
