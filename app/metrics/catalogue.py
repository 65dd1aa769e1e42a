"""The catalogue: every metric there is, declared once with name, unit, labels and help.

`WorkerMetrics` are told by each worker, for itself and its ingest process; `WebMetrics` by `web`, which alone reads the
database and the broker for them, on a schedule (`app/metrics/exporter.py`). Labels are codes of closed vocabularies,
topics, models and versions; a workspace only where it is bounded. Never an id of a lead, a message or a draft.
"""

from itertools import product
from typing import Final

from app.groups import CONSUMED
from app.metrics.kinds import Book, Counter, Declared, Gauge, Histogram, Total
from schemas.codes import Action, DeadLetterReason, DecidedBy, OutcomeStatus, RevisionOutcome, Stage

# Upper bounds of buckets. The first two are those of OpenTelemetry's conventions for generative AI.
_MODEL_CALL_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4.0**power for power in range(14))
_MODEL: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_WORK_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SHORT_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CONFIDENCE: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)

_TOPICS: Final = tuple(topic.name for topic in CONSUMED)
CALL_RESULTS: Final = ("answered", "unusable", "failed", "refused", "cancelled")
REVISION_STAGES: Final = (Stage.SELECTOR.value, Stage.REVISER.value, Stage.EVALUATION.value)
PACK_RESULTS: Final = ("off", "whole", "truncated", "fallback")


class ProcessMetrics:
    """What every process tells of itself."""

    def __init__(self) -> None:
        self.book = book = Book()
        self.info = Gauge(
            book, "draft_pipeline_process_info", "1 for this process, by role and version", "role", "version"
        )
        self.log_fields_dropped = Total(
            book,
            "draft_pipeline_log_fields_dropped_total",
            "Fields of log lines that were not written: unknown, or maybe text",
        )
        self.outbox_published = Counter(
            book, "draft_pipeline_outbox_published_total", "Events that the broker acknowledged", "topic"
        )
        self.outbox_send_failures = Counter(
            book,
            "draft_pipeline_outbox_send_failures_total",
            "Events that the broker did not acknowledge; they stay in the outbox and are sent again",
        )


class WorkerMetrics(ProcessMetrics):
    """What a worker and its ingest process tell."""

    def __init__(self) -> None:
        super().__init__()
        self._declare_model_calls(self.book)
        self._declare_agents(self.book)
        self._declare_consumers(self.book)
        self._declare_drafts(self.book)
        self._declare_ends(self.book)
        self._declare_revisions(self.book)

    def _declare_model_calls(self, book: Book) -> None:
        self.model_call_s = Histogram(
            book,
            "gen_ai_client_operation_duration_seconds",
            "One model call, from request to answer; error_type is empty for an answer that could be used",
            *_MODEL,
            "error_type",
            buckets=_MODEL_CALL_S,
        )
        self.model_tokens = Histogram(
            book,
            "gen_ai_client_token_usage",
            "Tokens of one model call as the provider counted them; gen_ai_token_type is input or output",
            *_MODEL,
            "gen_ai_token_type",
            buckets=_TOKENS,
        )
        self.model_calls = Counter(
            book,
            "draft_pipeline_model_calls_total",
            "Model calls by stage and what came of them; refused: the server did no work",
            "stage",
            "result",
            known=product((stage.value for stage in Stage), CALL_RESULTS),
        )
        self.stage_s = Histogram(
            book,
            "draft_pipeline_stage_duration_seconds",
            "One model call of a stage, answered or not",
            "stage",
            buckets=_MODEL_CALL_S,
        )
        self.model_cost = Counter(
            book, "draft_pipeline_model_cost_usd_total", "Cost of model calls whose price is known", "stage", "model"
        )
        self.model_cost_unknown = Counter(
            book, "draft_pipeline_model_cost_unknown_total", "Model calls whose price is not known", "model"
        )
        self.breaker_open = Gauge(
            book, "draft_pipeline_breaker_open", "1 while a model's breaker is open or trying, else 0", "model"
        )
        self.breaker_openings = Total(
            book, "draft_pipeline_breaker_openings_total", "How often a model's breaker opened", "model"
        )

    def _declare_agents(self, book: Book) -> None:
        self.events = Total(
            book,
            "draft_pipeline_events_total",
            "Events by what became of them; a retried one is counted again when it ends",
            "topic",
            "fate",
        )
        self.event_s = Histogram(
            book,
            "draft_pipeline_event_duration_seconds",
            "One event, from when the agent took it to its end, waits included",
            "topic",
            buckets=_WORK_S,
        )
        self.in_flight = Gauge(book, "draft_pipeline_events_in_flight", "Events that an agent works on now", "topic")
        self.paused = Gauge(
            book,
            "draft_pipeline_agent_paused",
            "1 while an agent makes no dead letters because most of the last events failed for reasons of our own",
            "topic",
        )
        self.leases = Gauge(book, "draft_pipeline_run_leases", "Runs that this worker owns now")
        self.sends_in_flight = Gauge(
            book, "draft_pipeline_deliveries_in_flight", "Deliveries that this worker brings forward now"
        )
        self.ingested = Counter(
            book,
            "draft_pipeline_ingested_records_total",
            "Records of inbound-message by what became of them",
            "result",
            known=[("stored",), ("repeated",), ("dead",)],
        )
        self.ingest_batch_s = Histogram(
            book,
            "draft_pipeline_ingest_batch_duration_seconds",
            "One batch of records, until it is committed; waits for the database included",
            buckets=_SHORT_S,
        )
        self.ingest_starts = Total(book, "draft_pipeline_ingest_process_starts_total", "Starts of the ingest process")

    def _declare_consumers(self, book: Book) -> None:
        self.rebalances = Total(
            book, "draft_pipeline_consumer_rebalances_total", "Rebalances that a consumer took part in", "topic"
        )
        self.consumer_restarts = Total(
            book, "draft_pipeline_consumer_restarts_total", "How often a consumer crashed and was built anew", "topic"
        )
        self.fetch_age = Gauge(
            book, "draft_pipeline_fetch_age_seconds", "Since a consumer's fetch loop last ran", "topic"
        )
        self.broker_silent = Gauge(
            book, "draft_pipeline_broker_silent_seconds", "Age of a consumer's oldest unanswered request", "topic"
        )

    def _declare_drafts(self, book: Book) -> None:
        self.draft_s = Histogram(
            book,
            "draft_pipeline_draft_duration_seconds",
            "From a run's start to its evaluated draft",
            "channel",
            buckets=_WORK_S,
        )
        self.confidence = Histogram(
            book,
            "draft_pipeline_confidence_ratio",
            "Confidence 0..1 of evaluated drafts: as drafted (at evaluated), and as decided (at settled)",
            "at",
            "mode",
            buckets=_CONFIDENCE,
        )
        self.evaluations = Counter(
            book, "draft_pipeline_evaluations_total", "Evaluated drafts: judged, or no_answer", "mode", "result"
        )
        self.hard_blocks = Counter(book, "draft_pipeline_hard_blocks_total", "Hard blocks in evaluated drafts", "rule")
        self.context_packs = Counter(
            book,
            "draft_pipeline_context_packs_total",
            "Lead context bundles of new runs: off, whole, truncated (a section did not fit), fallback (it failed)",
            "result",
            known=[(result,) for result in PACK_RESULTS],
        )
        self.context_cut = Counter(
            book, "draft_pipeline_context_sections_cut_total", "Bundle sections that did not fit", "profile"
        )

    def _declare_ends(self, book: Book) -> None:
        self.outcomes = Counter(
            book,
            "draft_pipeline_outcomes_total",
            "Changes of drafts' fates (draft-outcome) by action, status and who decided",
            "action",
            "status",
            "decided_by",
            known=[
                (Action.SEND_IMMEDIATE.value, OutcomeStatus.SENT.value, DecidedBy.POLICY.value),
                (Action.NEEDS_REVIEW.value, OutcomeStatus.AWAITING_REVIEW.value, DecidedBy.POLICY.value),
                (Action.NEEDS_REVIEW.value, OutcomeStatus.UNKNOWN.value, DecidedBy.POLICY.value),
            ],
        )
        self.send_s = Histogram(
            book,
            "draft_pipeline_send_duration_seconds",
            "One request to a provider, by channel and result (sent, refused, postponed, unknown)",
            "channel",
            "result",
            buckets=_SHORT_S,
        )
        self.dead_letters = Counter(
            book,
            "draft_pipeline_dead_letters_total",
            "Dead letters by source topic",
            "topic",
            "reason",
            known=product(_TOPICS, (reason.value for reason in DeadLetterReason)),
        )

    def _declare_revisions(self, book: Book) -> None:
        self.revisions = Counter(
            book,
            "draft_pipeline_revisions_total",
            "Settled revisions, made or not, by outcome: one for each evaluated draft",
            "outcome",
            known=[(outcome.value,) for outcome in RevisionOutcome],
        )
        self.revision_attempts = Counter(
            book, "draft_pipeline_revision_attempts_total", "Settled revisions that had begun"
        )
        self.revision_calls = Counter(
            book,
            "draft_pipeline_revision_calls_total",
            "Model calls of settled revisions by stage, as revision-result counts them",
            "stage",
            known=[(stage,) for stage in REVISION_STAGES],
        )
        self.revision_calls_excess = Counter(
            book,
            "draft_pipeline_revision_calls_excess_total",
            "Settled revisions with more than one selector call, or more rounds than there may be; always 0",
        )
        self.revision_s = Histogram(
            book,
            "draft_pipeline_revision_duration_seconds",
            "From evaluated draft to result, where a revision began",
            "outcome",
            buckets=_WORK_S,
        )


class WebMetrics(ProcessMetrics):
    """What `web` tells: of its requests, and what it reads in the database and the broker for all."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = Histogram(
            self.book,
            "draft_pipeline_http_request_duration_seconds",
            "One HTTP request",
            "method",
            "route",
            "status",
            buckets=_SHORT_S,
        )
        self._declare_reading(self.book)
        self._declare_lag(self.book)
        self._declare_outbox(self.book)
        self._declare_standing(self.book)
        self._declare_settings(self.book)

    def _declare_reading(self, book: Book) -> None:
        self.read_ok = Gauge(
            book,
            "draft_pipeline_exporter_up",
            "1 when the last reading of this source worked; else what comes from it is not told",
            "source",
        )
        self.read_s = Gauge(book, "draft_pipeline_exporter_read_seconds", "Duration of the last reading", "source")

    def _declare_lag(self, book: Book) -> None:
        """The names of the two exporters that dashboards know: kafka_exporter's, and kafka-lag-exporter's."""
        partition = ("consumergroup", "topic", "partition")
        self.lag = Gauge(book, "kafka_consumergroup_lag", "Records that a group has not done, by partition", *partition)
        self.lag_sum = Gauge(
            book, "kafka_consumergroup_lag_sum", "Records that a group has not done", "consumergroup", "topic"
        )
        self.committed = Gauge(book, "kafka_consumergroup_current_offset", "What a group has committed", *partition)
        self.members = Gauge(
            book, "kafka_consumergroup_members", "Members of a group that own partitions", "consumergroup"
        )
        self.end_offset = Gauge(
            book, "kafka_topic_partition_current_offset", "End of a partition", "topic", "partition"
        )
        by_partition = ("group", "topic", "partition")
        self.group_lag = Gauge(
            book, "kafka_consumergroup_group_lag", "Records that a group has not done, by partition", *by_partition
        )
        self.group_lag_s = Gauge(
            book,
            "kafka_consumergroup_group_lag_seconds",
            "Age of the first record that a group has not done, interpolated from end offsets seen before",
            *by_partition,
        )
        self.group_max_lag = Gauge(
            book, "kafka_consumergroup_group_max_lag", "The largest lag of a group's partitions", "group"
        )
        self.group_max_lag_s = Gauge(
            book, "kafka_consumergroup_group_max_lag_seconds", "The largest lag of a group in seconds", "group"
        )
        self.group_sum_lag = Gauge(
            book, "kafka_consumergroup_group_sum_lag", "The lag of all partitions of a group", "group"
        )
        self.group_topic_sum_lag = Gauge(
            book, "kafka_consumergroup_group_topic_sum_lag", "The lag of a topic in a group", "group", "topic"
        )

    def _declare_outbox(self, book: Book) -> None:
        self.unpublished = Gauge(
            book,
            "draft_pipeline_outbox_unpublished_rows",
            "Events in the outbox that the broker does not have yet, by topic",
            "topic",
        )
        self.outbox_age = Gauge(
            book,
            "draft_pipeline_outbox_age_seconds",
            "Age of the oldest event in the outbox that the broker does not have yet, 0 when there is none",
        )
        self.waiting = Gauge(
            book,
            "draft_pipeline_waiting_rows",
            "Messages that wait in the outbox: in their quiet window (quiet), or for a free run (due)",
            "state",
        )
        self.waiting_age = Gauge(
            book, "draft_pipeline_waiting_age_seconds", "Since the oldest waiting message fell due"
        )

    def _declare_standing(self, book: Book) -> None:
        self.running = Gauge(book, "draft_pipeline_running_runs", "RUNNING runs by the phase they are in", "phase")
        self.unowned = Gauge(book, "draft_pipeline_runs_past_lease", "RUNNING runs, lease ended a minute ago")
        self.open_claims = Gauge(
            book, "draft_pipeline_claims_past_lease", "Open claims, lease ended a minute ago", "purpose"
        )
        self.deliveries = Gauge(
            book,
            "draft_pipeline_deliveries_open",
            "Deliveries by state: due, later (scheduled or to be tried again), claimed, past_lease",
            "state",
        )
        self.delivery_overdue = Gauge(
            book, "draft_pipeline_delivery_overdue_seconds", "Since the oldest due delivery fell due"
        )
        self.unknown = Gauge(book, "draft_pipeline_deliveries_unknown", "Unknown sends that a person must look at")
        self.reviews = Gauge(book, "draft_pipeline_reviews_open", "Drafts that wait for a person")
        self.review_age = Gauge(book, "draft_pipeline_review_age_seconds", "Since the oldest open review was asked for")
        self.bookings = Gauge(
            book,
            "draft_pipeline_bookings_last_day",
            "Outcomes of follow-ups of the last 24 h; 50 workspaces, the rest as (other)",
            "workspace",
            "outcome",
        )

    def _declare_settings(self, book: Book) -> None:
        self.drifted = Gauge(
            book, "draft_pipeline_drifted_workspaces", "Workspaces that drifted, at the last look", "monitor"
        )
        self.switch_off = Gauge(
            book,
            "draft_pipeline_switch_off",
            "1 when a feature is switched off, in the database or in the environment of a living process",
            "switch",
            "source",
        )
        self.switch_changed = Gauge(
            book, "draft_pipeline_switch_changed_timestamp_seconds", "Last change in the database, since 1970", "switch"
        )
        self.workspaces = Gauge(
            book, "draft_pipeline_workspaces", "Workspaces by whether revision is enabled for them", "revision"
        )
        self.processes = Gauge(
            book, "draft_pipeline_processes", "Processes with a heart beat by role and version", "role", "version"
        )


def declared() -> dict[str, Declared]:
    """Every metric by name, as worker and web tell them."""
    return {**WorkerMetrics().book.declared, **WebMetrics().book.declared}
