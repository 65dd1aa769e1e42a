"""What is wrong, in words with their remedy. Pure: from figures to findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.control.switches import workers_of
from app.web.lag_watch import TopicLag
from schemas.limits import (
    LAG_S_MAX,
    MODEL_ERROR_SHARE_MAX,
    OUTBOX_AGE_S_MAX,
    RUN_FAILED_SHARE_MAX,
    SHARE_CALLS_MIN,
)

BAD: Final = "bad"
WARN: Final = "warn"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `runbook`: the heading that says what to do."""

    kind: str
    code: str
    words: str
    runbook: str = ""


@dataclass(frozen=True)
class Facts:
    """What the findings follow from. `topics` None: no reading of the broker."""

    processes: Sequence[Mapping[str, Any]]
    topics: Sequence[TopicLag] | None
    outbox: Mapping[str, Any]
    left_behind: Mapping[str, int]
    dead_letters: int
    unknown: int
    calls: int
    call_errors: int
    runs_ended: int
    runs_failed: int


def diagnose(facts: Facts) -> list[Finding]:
    """Everything that is wrong, the worst first."""
    found = [*_processes(facts), *_lag(facts), *_outbox(facts), *_work(facts), *_errors(facts)]
    return sorted(found, key=lambda each: each.kind != BAD)


def _processes(facts: Facts) -> list[Finding]:
    workers = workers_of(facts.processes)
    if not workers:
        return [Finding(BAD, "no_worker", "No worker lives: messages wait on Kafka.", "worker-refuses-to-start")]
    found = []
    for each in workers:
        name = each["process_id"]
        for topic in each["figures"].get("paused") or ():
            words = f"{name} has paused {topic}: most of its last events failed for reasons of our own."
            found.append(Finding(BAD, "paused", words, "agent-paused"))
        for model, state in (each["figures"].get("breakers") or {}).items():
            if state != "closed":
                words = f"{name} makes no calls to {model}: its breaker is {state.replace('_', ' ')}."
                found.append(Finding(WARN, "breaker_open", words, "model-down"))
    return found


def _lag(facts: Facts) -> list[Finding]:
    if facts.topics is None:
        return [Finding(BAD, "broker_away", "The broker does not answer: lag is not known.", "broker-away")]
    found = []
    for each in facts.topics:
        if each.lag and not each.members:
            words = f"Nobody consumes {each.topic}, and {each.lag} records wait."
            found.append(Finding(BAD, "no_member", words, "lag-grows"))
        elif each.age_s > LAG_S_MAX:
            words = f"The oldest record of {each.topic} has been waiting for {each.age_s / 60:.0f} min."
            found.append(Finding(WARN, "lag", words, "lag-grows"))
    return found


def _outbox(facts: Facts) -> list[Finding]:
    found, row = [], facts.outbox
    if (row["events_s"] or 0) > OUTBOX_AGE_S_MAX:
        words = f"{row['events']} events wait in the outbox, the oldest for {row['events_s'] / 60:.0f} min."
        found.append(Finding(BAD, "outbox", words, "broker-away"))
    if (row["due_s"] or 0) > OUTBOX_AGE_S_MAX:
        words = f"{row['due']} messages wait for a free run, the oldest for {row['due_s'] / 60:.0f} min."
        found.append(Finding(WARN, "waiting", words, "waiting-rows"))
    return found


def _work(facts: Facts) -> list[Finding]:
    found = []
    for what, count in facts.left_behind.items():
        if count:
            words = f"{count} {what} have had no owner for over a minute."
            found.append(Finding(BAD, f"unowned_{what}", words, "a-run-is-stuck-or-failed"))
    if facts.unknown:
        words = f"Of {facts.unknown} drafts nobody knows whether they were sent: ask the provider."
        found.append(Finding(WARN, "unknown", words, "delivery-unknown"))
    if facts.dead_letters:
        words = f"{facts.dead_letters} records became dead letters within the last hour."
        found.append(Finding(WARN, "dead_letters", words, "dead-letters"))
    return found


def _errors(facts: Facts) -> list[Finding]:
    found = []
    if facts.calls >= SHARE_CALLS_MIN and facts.call_errors / facts.calls > MODEL_ERROR_SHARE_MAX:
        words = f"{facts.call_errors / facts.calls:.0%} of the model calls of the last hour gave nothing usable."
        found.append(Finding(WARN, "model_errors", words, "model-down"))
    if facts.runs_ended >= SHARE_CALLS_MIN and facts.runs_failed / facts.runs_ended > RUN_FAILED_SHARE_MAX:
        words = f"{facts.runs_failed / facts.runs_ended:.0%} of the runs that ended within the last hour failed."
        found.append(Finding(WARN, "runs_failed", words, "a-run-is-stuck-or-failed"))
    return found
