"""What analysts read is what happened; and what is to go is gone, while workers run."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.erasure import Request, erase_lead
from app.retention import prune
from app.slack.client import SlackClient
from app.tailing import Line, read_start, tail
from tests.db.meeting_rows import TOMORROW, add_slot
from tests.story.analysing import (
    ASK,
    AUTO,
    counts,
    env,
    files,
    in_lake,
    make_old,
    marks_in_dump,
    messages,
    noticed,
    outside,
    ran,
    run_export,
)
from tests.story.audit import audit
from tests.story.drawn import drawn_of, page_against_topics
from tests.story.evidence import Evidence, gather
from tests.story.harness import Pipeline, pipeline
from tests.story.recount import NOT_RECOUNTED, NOT_TOLD, RECOUNTS, recount, view_rows
from tests.story.reviewers import review
from tests.story.told import Told

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


@pytest.fixture(scope="module")
async def flow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """Messages through everything, most reviews decided, nothing left to do."""
    async with pipeline(tmp_path_factory.mktemp("analysts"), workers=1, workspaces=[AUTO, ASK]) as running:
        for day in range(4):
            await add_slot(running.db, TOMORROW + timedelta(days=day), workspace=AUTO.id)
        await running.produce(messages())
        await running.idle()
        assert (await review(running)).total() > 5
        await running.idle()
        yield running


@pytest.fixture(scope="module")
async def evidence(flow: Pipeline) -> Evidence:
    """What was left behind when nothing was left to do, before anything was deleted."""
    return await gather(flow)


# ---- views


async def test_every_view_agrees_with_a_recount(flow: Pipeline, evidence: Evidence) -> None:
    """Decisions, revisions, confidences, reviews, costs: counted from the topics; the rest from the tables."""
    assert await recount(flow.db, evidence) == []
    known = await flow.db.fetch(
        "SELECT table_name AS name FROM information_schema.views WHERE table_schema = 'analytics'"
    )
    assert {each["name"] for each in known} == RECOUNTS.keys() | NOT_RECOUNTED


async def test_the_recount_notices_a_wrong_value_in_any_column(flow: Pipeline, evidence: Evidence) -> None:
    """One value after the other is changed: each makes a difference, but in columns that are told nowhere else, and in
    rows of which the topics tell nothing (the blocks of a text that a person edited)."""
    told = Told(evidence)
    for view, check in RECOUNTS.items():
        rows = await view_rows(flow.db, view)
        filled = {name for row in rows for name in row if row[name] is not None}
        assert {name for name in filled if not noticed(check, told, rows, name)} == NOT_TOLD.get(view, set()), view


async def test_the_quality_page_draws_what_the_topics_say(flow: Pipeline, evidence: Evidence) -> None:
    """Tiles, histograms, reliability, rates, latency and cost, each mark as counted from the topics."""
    assert await page_against_topics(flow, evidence) == []
    assert len(drawn_of(Told(evidence))) > 40


async def test_the_flow_that_was_recounted_had_everything_in_it(flow: Pipeline, evidence: Evidence) -> None:
    """A recount of nothing proves nothing: each outcome occurred, and no guarantee was broken."""
    outcomes = {each["outcome"] for each in await view_rows(flow.db, "revision_outcomes")}
    assert outcomes >= {"applied", "not_needed", "not_improved", "hard_blocked", "mode_not_eligible"}
    [reviews] = [each for each in await view_rows(flow.db, "review_outcomes") if each["workspace_id"] == ASK.id]
    assert min(reviews["approved"], reviews["edited"], reviews["rejected"], reviews["open"]) > 0
    assert sum(each["decisions"] for each in await view_rows(flow.db, "overseer_rates")) > 0
    assert sum(each["truncated_calls"] for each in await view_rows(flow.db, "context_truncation")) > 0
    assert {each["action"] for each in await view_rows(flow.db, "decisions")} >= {
        "send_immediate",
        "needs_review",
        "none",
    }
    await audit(flow, floor={"accepted": 15, "COMPLETED": 40, "revision:applied": 4})


async def test_no_view_holds_a_text_a_name_or_an_address(flow: Pipeline, evidence: Evidence) -> None:
    """The marks that stand in every field of every message stand in no view, and neither do the leads' ids."""
    for view in RECOUNTS:
        rows = json.dumps(await view_rows(flow.db, view), default=str)
        assert rows != "[]", view
        assert "zqx0" not in rows
        assert "lead-" not in rows


# ---- export


async def test_an_export_that_was_interrupted_and_resumed_equals_one_in_a_single_run(
    flow: Pipeline, evidence: Evidence, tmp_path: Path
) -> None:
    """Byte for byte, wherever it was stopped: while topics are read, days are put together, or views are written."""
    steps = await run_export(flow, tmp_path / "once")
    whole = files(tmp_path / "once")
    assert len([name for name in whole if name.endswith(".parquet")]) >= 3 + 10
    for stop_after in (7, 38, steps - 8):
        await run_export(flow, tmp_path / f"stopped{stop_after}", stop_after)
        await run_export(flow, tmp_path / f"stopped{stop_after}")
        assert files(tmp_path / f"stopped{stop_after}") == whole, stop_after


async def test_an_export_that_was_killed_goes_on(flow: Pipeline, evidence: Evidence, tmp_path: Path) -> None:
    """SIGKILL in the middle, then the command again: the same bytes; a call with nothing new changes nothing."""
    await run_export(flow, tmp_path / "once")
    command = (sys.executable, "-m", "app.cli", "export", "--dir", str(tmp_path / "killed"))
    process = await asyncio.create_subprocess_exec(*command, env=env(flow), stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    async for line in process.stderr:
        if b"written" in line:
            process.send_signal(signal.SIGKILL)
            break
    await process.wait()
    for _ in range(2):
        again = await asyncio.create_subprocess_exec(
            *command, env=env(flow), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        assert await again.wait() == 0
        assert files(tmp_path / "killed") == files(tmp_path / "once")


async def test_an_export_holds_each_event_once_and_every_view(
    flow: Pipeline, evidence: Evidence, tmp_path: Path
) -> None:
    """What DuckDB reads from the files is what stands on the topics and in the views."""
    await run_export(flow, tmp_path)
    for topic in ("draft-evaluated", "revision-result", "draft-outcome"):
        read = in_lake(tmp_path, topic, "event_id")
        assert sorted(read) == sorted(event["event_id"] for event in evidence.events(topic))
    for view in RECOUNTS:
        rows = await view_rows(flow.db, view)
        if rows:
            assert sorted(in_lake(tmp_path, view, "workspace_id")) == sorted(row["workspace_id"] for row in rows)
            assert set(in_lake(tmp_path, view, "day")) == {row["day"] for row in rows}
        fields = json.loads((tmp_path / view / "_schema.json").read_text())["fields"]
        assert all(field["meaning"] for field in fields)


# ---- topics for people


async def test_the_examples_read_what_is_there(flow: Pipeline, evidence: Evidence, tmp_path: Path) -> None:
    """DuckDB, pandas and a plain Kafka consumer agree with the views."""
    await run_export(flow, tmp_path, only=["revision-result", "draft-outcome"])
    rates = sorted(
        (each["channel"], each["campaign_id"], each["attempted"], each["applied"], each["revised_then_sent"])
        for each in await view_rows(flow.db, "applied_rate")
        if each["attempted"]
    )
    found = eval(await ran(flow, str(EXAMPLES / "read_with_duckdb.py"), str(tmp_path)))
    assert sorted((row[0], row[1], row[2], row[3]) for row in found) == sorted(rate[:4] for rate in rates)
    statuses = await flow.db.fetch("SELECT status, count(*) AS drafts FROM analytics.drafts GROUP BY 1")
    sent = {row["status"]: row["drafts"] for row in statuses}["sent"]
    assert json.loads(await ran(flow, str(EXAMPLES / "read_with_kafka.py"), flow.stack.kafka.bootstrap))["sent"] == sent
    head, *lines = (await ran(flow, str(EXAMPLES / "read_with_pandas.py"), str(tmp_path))).splitlines()
    place = head.split(",").index("sent")
    assert sum(int(line.split(",")[place]) for line in lines) == sent


async def collected(flow: Pipeline, topic: str, start: str, partition: int | None = None) -> list[Line]:
    begin = read_start(start, datetime.now(UTC))
    return [line async for line in tail(flow.config, topic, begin, partition=partition, follow=False)]


async def test_tail_begins_where_it_is_told(flow: Pipeline, evidence: Evidence) -> None:
    """At the beginning, at an offset, so many records back, at a time; and reads to the present end."""
    records = evidence.topics["draft-outcome"]
    assert len(await collected(flow, "draft-outcome", "earliest")) == len(records)
    assert await collected(flow, "draft-outcome", "latest") == []
    assert len(await collected(flow, "draft-outcome", "1h")) == len(records)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await collected(flow, "draft-outcome", tomorrow) == []
    partition = records[0].partition
    there = [record for record in records if record.partition == partition]
    assert len(await collected(flow, "draft-outcome", "1", partition)) == len(there) - 1
    assert len(await collected(flow, "draft-outcome", "-1", partition)) == 1


async def test_tail_filters_masks_and_ends_on_ctrl_c(flow: Pipeline, evidence: Evidence) -> None:
    """Only what was asked for; no text without --raw; Ctrl-C is no error."""
    cli = ("-m", "app.cli", "tail")
    told = await ran(flow, *cli, "draft-outcome", "--from", "earliest", "--once", "--json", "--where", "status=sent")
    sent = [event for event in evidence.events("draft-outcome") if event["status"] == "sent"]
    assert len(told.splitlines()) == len(sent)
    pretty = await ran(flow, *cli, "draft-outcome", "--from", "earliest", "--where", "status=sent", "--limit", "2")
    assert [" status=sent " in line for line in pretty.splitlines()] == [True, True]
    masked = await ran(flow, *cli, "inbound-message", "--from", "earliest", "--once", "--limit", "3")
    assert "zqx0" not in masked
    assert "zqx0" in await ran(flow, *cli, "inbound-message", "--from", "earliest", "--once", "--limit", "3", "--raw")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *cli, "draft-outcome", "--from", "earliest"), env=env(flow), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 30)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_sample_shows_both_texts_and_can_be_drawn_again(flow: Pipeline, evidence: Evidence) -> None:
    """Revised drafts by chance, with message and confidences; the same seed draws the same."""
    command = ("-m", "app.cli", "sample", "--revised", "3", "--json", "--seed", "7")
    first = json.loads(await ran(flow, *command))
    assert json.loads(await ran(flow, *command)) == first
    revised = {each["draft_id"]: each for each in evidence.events("revision-result") if each["revision_confidence"]}
    assert len(first["drafts"]) == 3
    for draft in first["drafts"]:
        assert draft["confidence_after"] == revised[draft["draft_id"]]["revision_confidence"]
        assert draft["before"] != draft["after"]
        assert draft["message"]


# ---- what is to go; these come last, since they take things away


async def test_after_an_erasure_a_dump_holds_nothing_of_the_lead_and_a_replay_brings_nothing_back(
    flow: Pipeline, evidence: Evidence
) -> None:
    """With workers running: no text, address or id of theirs in the database; the same record again is dropped."""
    lead, theirs = next(
        (each["lead_id"], each) for each in messages() if each["workspace_id"] == ASK.id and "!!near" in each["body"]
    )
    mark = theirs["subject"].removesuffix("subject")
    theirs = next(
        json.loads(record.value or b"") for record in evidence.topics["inbound-message"] if record.key == lead.encode()
    )
    assert len(await marks_in_dump(flow, mark, lead)) > 5
    slack = SlackClient(flow.config)
    request = Request(ASK.id, lead, "operator:test", "cli", "request 1")
    erased = await erase_lead(flow.db, request, slack, lambda draft: f"https://example.com/drafts/{draft}")
    await slack.close()
    assert (erased.messages >= 1, erased.runs, erased.slack_messages, erased.slack_left) == (True, 1, 1, 0)
    assert await marks_in_dump(flow, mark, lead, theirs["message_id"]) == []
    seen = await outside(flow)
    await flow.produce([theirs, theirs])
    await flow.idle()
    assert await outside(flow) == seen
    assert await marks_in_dump(flow, mark, lead, theirs["message_id"]) == []
    posted = [line for line in flow.stack.slack.ledger() if line["method"] in ("chat.postMessage", "chat.update")]
    assert mark in json.dumps(posted)
    assert mark not in json.dumps({line["ts"]: line["body"] for line in posted})  # what each message shows now


async def test_after_a_prune_a_replay_of_every_topic_makes_no_call_and_no_send(
    flow: Pipeline, evidence: Evidence
) -> None:
    """Runs, contexts and artifacts are gone; the records come again, and nothing is asked, sent or told twice."""
    await make_old(flow)
    open_reviews = await flow.db.fetchval("SELECT count(*) FROM review_request WHERE status = 'open'")
    pruned = await prune(flow.db, 30)
    assert pruned.complete
    assert pruned.runs > 20
    assert await flow.db.fetchval("SELECT count(*) FROM draft_pipeline_run") == open_reviews
    assert (await prune(flow.db, 30)).rows == 0
    before, rows = await outside(flow), await counts(flow)
    for topic in ("inbound-message", "draft-requested", "draft-evaluated", "revision-result", "review-command"):
        for record in evidence.topics[topic]:
            await flow.produce_raw(topic, record.key, record.value)
    await flow.idle()
    assert await outside(flow) == before
    assert await counts(flow) == rows
