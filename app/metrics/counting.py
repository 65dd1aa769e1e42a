"""What is decided, counted where it becomes an event: the relay is handed every event right after its commit.

A worker that dies between commit and hand-over leaves its event to the sweep, which does not count it.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from agents.rim import OutboxRow
from app.metrics.catalogue import REVISION_STAGES, WorkerMetrics
from schemas.context import DraftRunContextPack
from schemas.limits import REVISION_ITERATIONS_MAX
from schemas.topics import DEAD_LETTER, DRAFT_EVALUATED, DRAFT_OUTCOME, REVISION_RESULT

_MS: Final = 1000.0


class Counting:
    """Counts events of ours by what they say."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._of = {
            DRAFT_EVALUATED.name: self._evaluated,
            REVISION_RESULT.name: self._revised,
            DRAFT_OUTCOME.name: self._outcome,
        }

    def rows(self, rows: Sequence[OutboxRow]) -> None:
        """Rows that were just committed."""
        for row in rows:
            if row.topic == DEAD_LETTER.name:
                self._metrics.dead_letters.inc(row.headers["dlq_topic"], row.headers["dlq_reason"])
            elif row.topic in self._of and row.value is not None:
                self._of[row.topic](orjson.loads(row.value))

    def context_built(self, pack: DraftRunContextPack) -> None:
        """The bundle of a new run."""
        cut = [each for each in pack.statistics if each.truncated_sections]
        self._metrics.context_packs.inc(_pack_result(pack, truncated=bool(cut)))
        for each in cut:
            self._metrics.context_cut.inc(each.profile, by=each.truncated_sections)

    def _evaluated(self, event: dict[str, Any]) -> None:
        metrics, confidence = self._metrics, event["confidence"]
        metrics.evaluations.inc(event["mode"], "no_answer" if confidence is None else "judged")
        if confidence is not None:
            metrics.confidence.observe(confidence, "evaluated", event["mode"])
        for rule in event["hard_blocks"]:
            metrics.hard_blocks.inc(rule)
        metrics.draft_s.observe(event["latency_ms"] / _MS, event["channel"])

    def _revised(self, event: dict[str, Any]) -> None:
        metrics = self._metrics
        metrics.revisions.inc(event["outcome"])
        if event["confidence"] is not None:
            metrics.confidence.observe(event["confidence"], "settled", event["mode"])
        if not event["attempted"]:
            return
        calls = (event["selector_calls"], event["reviser_calls"], event["evaluation_calls"])
        metrics.revision_attempts.inc()
        for stage, count in zip(REVISION_STAGES, calls, strict=True):
            metrics.revision_calls.inc(stage, by=count)
        if calls[0] > 1 or max(calls[1:]) > REVISION_ITERATIONS_MAX:
            metrics.revision_calls_excess.inc()
        metrics.revision_s.observe(event["latency_ms"] / _MS, event["outcome"])

    def _outcome(self, event: dict[str, Any]) -> None:
        self._metrics.outcomes.inc(event["action"], event["status"], event["decided_by"])


def _pack_result(pack: DraftRunContextPack, *, truncated: bool) -> str:
    if pack.fallback is not None:
        return "fallback"
    if not pack.statistics:
        return "off"
    return "truncated" if truncated else "whole"
