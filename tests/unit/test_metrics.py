"""Promises of the metric catalogue and of those who count."""

import ast
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

import app
from agents.rim import OutboxRow
from app.metrics.catalogue import WebMetrics, WorkerMetrics, declared
from app.metrics.counting import Counting
from app.metrics.kinds import Book, Counter
from app.metrics.lag import POINTS_MAX, LagClock
from app.metrics.passing_on import ChildSamples, exposition, samples_of
from schemas.context import BundleStatistics, DraftRunContextPack

PACKAGE = Path(app.__file__).parent
LABELS_OF_PEOPLE = re.compile(r"lead|message|draft|run|email|name$|phone|text|subject|key")
GEN_AI = {"gen_ai_operation_name", "gen_ai_provider_name"}


def values(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of an exposition."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(text: bytes, name: str, **labels: str) -> float:
    """One sample; it must be there."""
    return values(text)[name, tuple(sorted(labels.items()))]


def row(topic: str, body: dict[str, Any] | None, **headers: str) -> OutboxRow:
    return OutboxRow(1, topic, b"lead", orjson.dumps(body) if body is not None else b"{", headers)


def evaluated(**changed: Any) -> OutboxRow:
    body = {"mode": "AI_AUTO_SEND", "channel": "chat", "confidence": 0.8, "hard_blocks": [], "latency_ms": 1500}
    return row("draft-evaluated", body | changed)


def revised(**changed: Any) -> OutboxRow:
    body = {
        "mode": "AI_AUTO_SEND",
        "outcome": "applied",
        "attempted": True,
        "confidence": 0.95,
        "selector_calls": 1,
        "reviser_calls": 2,
        "evaluation_calls": 2,
        "latency_ms": 9000,
    }
    return row("revision-result", body | changed)


@pytest.fixture
def metrics() -> WorkerMetrics:
    return WorkerMetrics()


def told(metrics: WorkerMetrics) -> bytes:
    return exposition(metrics.book.registry)


def test_every_metric_is_named_after_its_kind_and_unit() -> None:
    """Counters end with _total, everything else with its base unit; each says in words what it is."""
    for name, metric in declared().items():
        stem = name.removesuffix("_total")
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert (stem != name) == (metric.kind == "counter"), name
        assert metric.kind != "histogram" or metric.unit, name
        assert len(metric.help.split()) >= 3, name
        assert not re.search(r"_(ms|millis|percent|minutes|hours|kb|mb)(_|$)", name), name


def test_no_label_names_a_person() -> None:
    """Labels are codes: none is an id of a lead, message, draft or run; a workspace stands on one bounded gauge only."""
    for name, metric in declared().items():
        labels = set(metric.labels) - GEN_AI
        assert not any(LABELS_OF_PEOPLE.search(label) for label in labels), name
        assert "workspace" not in labels or name == "draft_pipeline_bookings_last_day"


def test_nothing_but_the_catalogue_creates_a_metric() -> None:
    """prometheus_client is imported by the kinds and by what passes samples on, the kinds are created in the catalogue."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "prometheus_client":
                    assert path.name in ("kinds.py", "passing_on.py"), path
                case ast.Import(names=names) if any(name.name.startswith("prometheus_client") for name in names):
                    assert path.name == "kinds.py", path
                case ast.ImportFrom(module="app.metrics.kinds", names=names):
                    kinds = {name.name for name in names} & {"Counter", "Gauge", "Histogram", "Total"}
                    assert not kinds or path.name == "catalogue.py", path
                case _:
                    pass


def test_a_name_is_declared_once() -> None:
    """Whoever declares a name again stops the start."""
    book = Book()
    Counter(book, "draft_pipeline_twice_total", "Declared twice")
    with pytest.raises(ValueError, match="twice"):
        Counter(book, "draft_pipeline_twice_total", "Declared twice")


def test_what_is_told_is_what_is_declared() -> None:
    """Every family in an exposition is declared, with exactly its labels."""
    for each in (WorkerMetrics(), WebMetrics()):
        for family in text_string_to_metric_families(exposition(each.book.registry).decode()):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            assert name in each.book.declared
            labels = set(each.book.declared[name].labels)
            assert all(set(sample.labels) - {"le"} == labels for sample in family.samples)


def test_an_evaluated_draft_is_counted_once(metrics: WorkerMetrics) -> None:
    """Confidence, duration in seconds and each hard block of a draft-evaluated are counted when it is committed."""
    Counting(metrics).rows([evaluated(hard_blocks=["money", "date"]), evaluated(confidence=None)])
    text = told(metrics)
    assert value(text, "draft_pipeline_evaluations_total", mode="AI_AUTO_SEND", result="judged") == 1
    assert value(text, "draft_pipeline_evaluations_total", mode="AI_AUTO_SEND", result="no_answer") == 1
    assert value(text, "draft_pipeline_confidence_ratio_sum", at="evaluated", mode="AI_AUTO_SEND") == 0.8
    assert value(text, "draft_pipeline_draft_duration_seconds_sum", channel="chat") == 3.0
    assert value(text, "draft_pipeline_hard_blocks_total", rule="money") == 1


def test_a_revision_is_counted_with_its_calls(metrics: WorkerMetrics) -> None:
    """Each result counts by outcome; calls only where a revision had begun; more calls than may be are an excess."""
    counting = Counting(metrics)
    counting.rows([revised(), revised(outcome="not_needed", attempted=False)])
    text = told(metrics)
    assert value(text, "draft_pipeline_revisions_total", outcome="applied") == 1
    assert value(text, "draft_pipeline_revisions_total", outcome="not_needed") == 1
    assert value(text, "draft_pipeline_revision_attempts_total") == 1
    assert value(text, "draft_pipeline_revision_calls_total", stage="auto_send_revision_selector") == 1
    assert value(text, "draft_pipeline_revision_calls_excess_total") == 0
    counting.rows([revised(selector_calls=2)])
    assert value(told(metrics), "draft_pipeline_revision_calls_excess_total") == 1


def test_outcomes_and_dead_letters_are_counted_by_code(metrics: WorkerMetrics) -> None:
    """A fate by action, status and who decided; a letter by source topic and reason, whatever bytes it holds."""
    outcome = {"action": "send_immediate", "status": "sent", "decided_by": "policy"}
    letter = row("dead-letter", None, dlq_topic="inbound-message", dlq_reason="not_json")
    Counting(metrics).rows([row("draft-outcome", outcome), letter, row("review-command", None)])
    assert value(told(metrics), "draft_pipeline_outcomes_total", **outcome) == 1
    labels = {"topic": "inbound-message", "reason": "not_json"}
    assert value(told(metrics), "draft_pipeline_dead_letters_total", **labels) == 1


@pytest.mark.parametrize(
    ("pack", "result"),
    [
        (DraftRunContextPack(), "off"),
        (DraftRunContextPack(fallback="TimeoutError"), "fallback"),
        (DraftRunContextPack(statistics=[BundleStatistics(profile="draft", sections=3, chars=9, tokens=3, budget_tokens=9, truncated_sections=0)]), "whole"),
        (DraftRunContextPack(statistics=[BundleStatistics(profile="draft", sections=3, chars=9, tokens=3, budget_tokens=3, truncated_sections=2)]), "truncated"),
    ],
)  # fmt: skip
def test_a_bundle_is_counted_by_what_became_of_it(
    metrics: WorkerMetrics, pack: DraftRunContextPack, result: str
) -> None:
    """Off, whole, truncated or failed; and how many sections did not fit."""
    Counting(metrics).context_built(pack)
    assert value(told(metrics), "draft_pipeline_context_packs_total", result=result) == 1
    cut = values(told(metrics)).get(("draft_pipeline_context_sections_cut_total", (("profile", "draft"),)))
    assert cut == (2 if result == "truncated" else None)


def test_what_may_rarely_happen_stands_at_zero_before_it_does(metrics: WorkerMetrics) -> None:
    """A rate sees the first increase only of a series that was there: rare outcomes are told as 0 from the start."""
    assert value(told(metrics), "draft_pipeline_revisions_total", outcome="claim_failed") == 0
    labels = {"topic": "inbound-message", "reason": "unexpected_error"}
    assert value(told(metrics), "draft_pipeline_dead_letters_total", **labels) == 0


def test_a_worker_tells_what_its_ingest_processes_counted(metrics: WorkerMetrics) -> None:
    """The child's sums are added to the worker's own; those of one that died stay, so no sum goes back."""
    child, samples = WorkerMetrics(), ChildSamples()
    child.ingested.inc("stored", by=3)
    child.ingest_batch_s.observe(0.02)
    child.outbox_published.inc("dead-letter")
    metrics.outbox_published.inc("dead-letter", by=4)
    samples.told(orjson.loads(orjson.dumps(samples_of(child.book.registry))))
    samples.ended()
    second = WorkerMetrics()
    second.ingested.inc("stored", by=2)
    samples.told(samples_of(second.book.registry))
    text = exposition(metrics.book.registry, samples)
    assert value(text, "draft_pipeline_ingested_records_total", result="stored") == 5
    assert value(text, "draft_pipeline_outbox_published_total", topic="dead-letter") == 5
    assert value(text, "draft_pipeline_ingest_batch_duration_seconds_bucket", le="0.025") == 1
    assert value(text, "draft_pipeline_ingest_batch_duration_seconds_bucket", le="+Inf") == 1
    assert value(text, "draft_pipeline_ingest_batch_duration_seconds_bucket", le="0.01") == 0


def test_a_gauge_that_is_not_read_any_more_is_not_told() -> None:
    """No data is not 0: a value that was forgotten, or left out of the last reading, is gone."""
    metrics = WebMetrics()
    metrics.unpublished.replace({("draft-requested",): 2, ("draft-evaluated",): 1})
    metrics.unpublished.replace({("draft-requested",): 0})
    metrics.outbox_age.set(3.0)
    metrics.outbox_age.forget()
    found = {name for name, _ in values(exposition(metrics.book.registry))}
    assert "draft_pipeline_outbox_age_seconds" not in found
    assert [key for key in values(exposition(metrics.book.registry)) if key[0].endswith("unpublished_rows")] == [
        ("draft_pipeline_outbox_unpublished_rows", (("topic", "draft-requested"),))
    ]


def test_lag_in_seconds_is_the_age_of_the_first_record_that_is_not_done() -> None:
    """Interpolated between readings of the end; 0 when all is done; at least the time watched for what is older."""
    clock = LagClock()
    for now, end in ((0.0, 100), (10.0, 200), (20.0, 200), (30.0, 300)):
        clock.note("p", end, now)
    assert clock.age_s("p", 300, 30.0) == 0.0
    assert clock.age_s("p", 150, 30.0) == 25.0
    assert clock.age_s("p", 200, 30.0) == pytest.approx(10.0)
    assert clock.age_s("p", 50, 30.0) == 30.0
    assert clock.age_s("unseen", 0, 30.0) == 0.0


def test_lag_in_seconds_forgets_a_topic_that_was_made_anew() -> None:
    """An end that went back is of another topic of that name."""
    clock = LagClock()
    clock.note("p", 500, 0.0)
    clock.note("p", 10, 10.0)
    clock.note("p", 20, 20.0)
    assert clock.age_s("p", 10, 20.0) == 10.0


def test_lag_in_seconds_reaches_back_as_far_as_it_was_watched() -> None:
    """A backlog of hours is told as hours, one of minutes still as minutes, from a bounded number of readings."""
    clock, now = LagClock(), 0.0
    while now < 24 * 3600:
        clock.note("p", int(now), now)
        now += 5.0
    now -= 5.0
    for age_s in (20.0, 60.0, 600.0, 6 * 3600.0, 20 * 3600.0):
        assert clock.age_s("p", int(now - age_s), now) == pytest.approx(age_s, rel=0.01)
    assert len(clock._ends["p"]) == POINTS_MAX


def test_lag_in_seconds_is_close_also_when_records_come_in_bursts() -> None:
    """What lies between two readings that were kept is interpolated: a tenth of the age at most."""
    clock = LagClock()
    for step in range(24 * 720):
        clock.note("p", step // 720 * 1000, step * 5.0)  # a thousand each hour
    now = (24 * 720 - 1) * 5.0
    for hour in range(1, 24):
        assert clock.age_s("p", hour * 1000 - 500, now) == pytest.approx(now - hour * 3600.0, rel=0.1)


def test_ids_never_become_labels(metrics: WorkerMetrics) -> None:
    """Whatever ids an event carries, none of them is in what is told."""
    ids = {name: str(uuid.uuid4()) for name in ("draft_id", "run_id", "lead_id", "event_id", "workspace_id")}
    ids["occurred_at"] = datetime.now(UTC).isoformat()
    Counting(metrics).rows([evaluated(**ids), revised(**ids)])
    text = told(metrics).decode()
    assert not any(each in text for each in ids.values())
