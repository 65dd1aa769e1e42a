"""What a running system tells: metrics that agree with the tables, one trace a message, and no text in either."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer

from app.kafka.lagging import group_reader, watermarks_of
from app.metrics.catalogue import WebMetrics
from app.metrics.exporter import Exporter
from app.metrics.passing_on import exposition
from app.stack.process import free_port
from app.web.lag_watch import LagWatch
from db.pool import create_pool
from schemas.topics import DEAD_LETTER, INBOUND_MESSAGE, TOPICS
from tests.roles import grant, make_roles
from tests.story.audit import audit
from tests.story.collector import Collector, Samples, samples, scraped, total
from tests.story.harness import Pipeline, pipeline
from tests.story.rows import PLANTED, Row, Workspace, key_of, planted, row, value_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SERIES_MAX = 3_000


@dataclass
class Told:
    """A finished story: who ran it, where its worker is scraped, where its spans went."""

    flow: Pipeline
    port: int
    collector: Collector
    messages: dict[str, Row]
    roles: dict[str, str]


@pytest.fixture(scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    """One worker, as the database role that is shipped for it, scraped and traced; messages of every fate went through
    it, full of planted words."""
    port = free_port()
    async with Collector() as collector:
        environment = {
            "WORKER_HTTP_PORT": str(port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        workspaces = [Workspace("ws-told", settings={"lead_context_bundle_enabled": True})]
        async with pipeline(tmp_path_factory.mktemp("told"), 0, workspaces, environment) as flow:
            roles = await make_roles(flow.stack.postgres.url)
            await grant(flow.stack.postgres.url)
            await flow.start(1, DATABASE_URL=roles["worker"])
            bodies = {
                "traced": "!!confident",
                "near": "!!near",
                "never": "!!never",
                "claim": "!!claim",
                "odd": "!!near",
            }
            rows = planted([row("ws-told", who, f"Hello there {mark}") for who, mark in bodies.items()])
            messages = dict(zip(bodies, rows, strict=True))
            headers = {"traced": TRACEPARENT, "odd": f"{PLANTED.decode()}-is-a-name"}
            await produce(flow, messages, headers)
            await flow.produce([b"{no json", row("ws-unknown", "x", f"{PLANTED.decode()} hello")])
            await flow.idle(60)
            yield Told(flow, port, collector, messages, roles)


async def produce(flow: Pipeline, messages: dict[str, Row], traceparents: dict[str, str]) -> None:
    """Send messages, some of them with a `traceparent` as their producer's tracing wrote it."""
    async with AIOKafkaProducer(bootstrap_servers=flow.stack.kafka.bootstrap) as producer:
        for who, message in messages.items():
            headers = [("traceparent", traceparents[who].encode())] if who in traceparents else []
            await producer.send_and_wait(INBOUND_MESSAGE.name, value_of(message), key=key_of(message), headers=headers)


async def counted(told: Told, query: str) -> float:
    return float(await told.flow.db.fetchval(query))


async def settled(told: Told) -> tuple[Samples, bytes]:
    """A scrape in which the ingest process has passed on what it counted last."""

    async def complete() -> tuple[Samples, bytes] | None:
        found, text = await scraped(told.port)
        done = total(found, "draft_pipeline_ingested_records_total") == len(told.messages) + 2
        return (found, text) if done else None

    result: tuple[Samples, bytes] = await told.flow.until(complete, 10, "the ingest process tells what it counted")
    return result


async def exported(told: Told) -> bytes:
    """What `web` tells of all, read with the database role that is shipped for it."""
    metrics, pool = WebMetrics(), await create_pool(told.roles["web"], size=2)
    watch = LagWatch(told.flow.config, pool)
    async with group_reader(told.flow.config) as reader:
        watch.note(await reader.lags(await watermarks_of(pool)), time.time())
    await Exporter(pool, watch, metrics).read()
    await pool.close()
    return exposition(metrics.book.registry)


async def test_metrics_of_a_worker_agree_with_the_tables(told: Told) -> None:
    """Calls, drafts, revisions, outcomes, sends, tokens, dead letters: counted is what is recorded."""
    found, _ = await settled(told)
    calls = await counted(told, "SELECT count(*) FROM model_call WHERE status = 'answered'")
    assert total(found, "draft_pipeline_model_calls_total", result="answered") == calls > 20
    assert total(found, "gen_ai_client_operation_duration_seconds_count", error_type="") == calls
    tokens = await counted(told, "SELECT sum(input_tokens) FROM model_call")
    assert total(found, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == tokens
    cost = await counted(told, "SELECT sum(cost_usd) FROM model_call")
    assert total(found, "draft_pipeline_model_cost_usd_total") == pytest.approx(cost, rel=1e-6)
    drafts = await told.flow.db.fetch("SELECT revision_outcome, count(*) AS n FROM ai_draft GROUP BY 1")
    for each in drafts:
        told_of = total(found, "draft_pipeline_revisions_total", outcome=each["revision_outcome"])
        assert told_of == each["n"], each["revision_outcome"]
    assert total(found, "draft_pipeline_evaluations_total") == len(told.messages)
    assert total(found, "draft_pipeline_confidence_ratio_count", at="evaluated") == len(told.messages)
    sent = await counted(told, "SELECT count(*) FROM delivery WHERE status = 'sent'")
    assert total(found, "draft_pipeline_send_duration_seconds_count", channel="chat", result="sent") == sent >= 2
    assert total(found, "draft_pipeline_outcomes_total", status="sent", decided_by="policy") == sent
    reviews = await counted(told, "SELECT count(*) FROM review_request")
    assert total(found, "draft_pipeline_outcomes_total", status="awaiting_review") == reviews >= 1
    assert total(found, "draft_pipeline_events_total", topic="draft-requested", fate="done") == len(told.messages)
    assert total(found, "draft_pipeline_context_packs_total") == len(told.messages)


async def test_the_ingest_process_is_told_of_by_its_worker(told: Told) -> None:
    """Records, batches, dead letters and rebalances of the child stand in the same answer, under the same names."""
    found, _ = await settled(told)
    assert total(found, "draft_pipeline_ingested_records_total", result="stored") == len(told.messages)
    assert total(found, "draft_pipeline_dead_letters_total", topic="inbound-message", reason="not_json") == 1
    assert total(found, "draft_pipeline_dead_letters_total", topic="inbound-message", reason="unknown_workspace") == 1
    assert total(found, "draft_pipeline_ingest_batch_duration_seconds_count") >= 1
    assert total(found, "draft_pipeline_ingest_process_starts_total") == 1
    assert total(found, "draft_pipeline_consumer_rebalances_total", topic="inbound-message") >= 1
    assert total(found, "draft_pipeline_outbox_published_total", topic="dead-letter") == 2


async def test_what_stands_is_read_once_for_all(told: Told) -> None:
    """The exporter's lag is the broker's, nothing waits, reviews and processes are the tables'; it needs no worker."""
    found = samples(await exported(told))
    assert total(found, "draft_pipeline_exporter_up") == 2
    ends = total(found, "kafka_topic_partition_current_offset", topic="draft-evaluated")
    assert ends == len(await told.flow.topic("draft-evaluated"))
    group = "draft-pipeline-draft-evaluated"
    committed = total(found, "kafka_consumergroup_current_offset", consumergroup=group)
    assert total(found, "kafka_consumergroup_lag", consumergroup=group) == ends - committed == 0
    assert total(found, "kafka_consumergroup_group_sum_lag") == total(found, "kafka_consumergroup_group_max_lag") == 0
    assert total(found, "kafka_consumergroup_members") == 5
    assert total(found, "draft_pipeline_outbox_unpublished_rows") == total(found, "draft_pipeline_waiting_rows") == 0
    assert total(found, "draft_pipeline_reviews_open") == await counted(told, "SELECT count(*) FROM review_request")
    assert total(found, "draft_pipeline_processes", role="worker") == 1
    assert total(found, "draft_pipeline_switch_off") == 0
    assert total(found, "draft_pipeline_workspaces", revision="on") == 1


async def test_one_trace_leads_from_the_producers_header_to_the_delivery(told: Told) -> None:
    """The producer's trace id stands on every event of the message, at the receiver, and on a span of every step."""
    steps = {
        "ingest inbound-message",
        "process draft-requested",
        "chat gpt-5.2",
        "process draft-evaluated",
        "process revision-result",
        "send chat",
    }

    async def complete() -> bool:
        return steps <= {span.name for span in told.collector.of(TRACE)}

    await told.flow.until(complete, 10, "every step sent its span")
    spans = {span.name: span for span in told.collector.of(TRACE)}
    assert spans["process draft-requested"].parent == TRACEPARENT.split("-")[2]
    assert spans["chat gpt-5.2"].attributes["draft_pipeline.result"] == "answered"
    assert spans["send chat"].attributes["draft_pipeline.result"] == "sent"
    assert {span.service for span in told.collector.of(TRACE)} == {"draft-pipeline-worker", "draft-pipeline-ingest"}
    for name in set(TOPICS) - {INBOUND_MESSAGE.name, DEAD_LETTER.name, "review-command"}:
        headers = [record.headers for record in await told.flow.topic(name) if record.key == b"traced"]
        assert [each["traceparent"] for each in headers] == [TRACEPARENT.encode()] * len(headers) != [], name
    accepted = [line for line in told.flow.stack.webhook.ledger() if line["headers"].get("traceparent") == TRACEPARENT]
    assert len(accepted) == 1


async def test_a_message_without_a_usable_header_gets_a_trace_of_its_own(told: Told) -> None:
    """One id from ingest on, the same on all its events; a header that is no traceparent is passed on to nobody."""
    seen: dict[bytes, set[bytes]] = {}
    for name in ("draft-requested", "draft-evaluated", "revision-result", "draft-outcome"):
        for record in await told.flow.topic(name):
            seen.setdefault(record.key or b"", set()).add(record.headers["traceparent"])
    assert set(seen) == {who.encode() for who in told.messages}
    assert all(len(each) == 1 for each in seen.values())
    assert len({next(iter(each)) for each in seen.values()}) == len(told.messages)


async def test_no_text_is_in_metrics_traces_logs_or_topics(told: Told) -> None:
    """The words planted in every field of every message are in none of them; nor are leads' ids in metrics or spans."""
    _, text = await settled(told)
    everything = {"worker": text, "web": await exported(told), "spans": b"".join(told.collector.bodies)}
    for name, content in everything.items():
        assert PLANTED not in content, name
        assert not any(f'"{who}"'.encode() in content for who in told.messages), name
    assert told.collector.bodies
    await audit(told.flow, floor={"accepted": 2})


async def test_series_stay_few(told: Told) -> None:
    """A worker tells a bounded number of series, whatever it worked on."""
    found, _ = await settled(told)
    assert 200 < len(found) < SERIES_MAX
