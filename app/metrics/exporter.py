"""What stands in Postgres and on the broker, as gauges. Only `web` reads it, on a schedule: a scrape costs nothing, and
workers are never asked. Several `web` processes tell the same values; rules take their maximum.

A source that cannot be read is not told at all: no data is not 0.
"""

import asyncio
import time
from collections import Counter as Counts
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import asyncpg
import structlog

from app.kafka.lagging import PartitionLag
from app.metrics.catalogue import WebMetrics
from app.metrics.kinds import Forgets
from app.web.lag_watch import LagWatch, Reading
from db import sql
from db.pool import Pool
from schemas.codes import KillSwitch
from schemas.topics import TOPICS

log = structlog.get_logger()

EXPORT_S: Final = 15.0
DRIFT_S: Final = 900.0
ROWS_MAX: Final = 100_000
PAST_LEASE_S: Final = 60.0
WORKSPACES_MAX: Final = 50
_READ_S_MAX: Final = 10.0
_DRIFT_READ_S_MAX: Final = 120.0
_NOBODY: Final = "-"
_PHASES: Final = ("draft", "revise", "dispatch")
_PURPOSES: Final = ("revision", "delivery", "review_request")
_DELIVERY_STATES: Final = ("due", "later", "claimed", "past_lease")


class Exporter:
    """Reads every EXPORT_S, drift every DRIFT_S, and sets the gauges of `metrics`. Lag it takes from what `web` reads
    anyway."""

    def __init__(self, pool: Pool, lag: LagWatch, metrics: WebMetrics) -> None:
        self._pool, self._lag, self._metrics = pool, lag, metrics

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(EXPORT_S, self.read))
            group.create_task(_every(DRIFT_S, self.read_drift))

    async def read_drift(self) -> None:
        """One look at the last day; what could not be read is not told."""
        try:
            async with asyncio.timeout(_DRIFT_READ_S_MAX):
                await look_for_drift(self._pool, self._metrics)
        except Exception as error:
            self._metrics.drifted.forget()
            log.warning("exporter_read_failed", source="drift", exc_info=error)

    async def read(self) -> None:
        """One look at both sources."""
        latest = self._lag.latest
        self._metrics.read_ok.set(float(latest is not None), "kafka")
        self._tell_lag(latest)
        began, works = time.monotonic(), True
        try:
            async with asyncio.timeout(_READ_S_MAX):
                await self._read_standing()
        except Exception as error:  # whatever it is: what was read before is not told for longer than it is true
            works = False
            self._forget_standing()
            log.warning("exporter_read_failed", source="postgres", exc_info=error)
        self._metrics.read_ok.set(float(works), "postgres")
        self._metrics.read_s.set(time.monotonic() - began, "postgres")

    # ---- Postgres

    async def _read_standing(self) -> None:
        row = await sql.metrics.standing.one(
            self._pool, rows_max=ROWS_MAX, past_lease_s=PAST_LEASE_S, workspaces_max=WORKSPACES_MAX
        )
        self._outbox(row)
        self._work(row)
        self._settings(row)

    def _outbox(self, row: asyncpg.Record) -> None:
        metrics = self._metrics
        metrics.unpublished.replace(_each(row["unpublished"], TOPICS))
        metrics.outbox_age.set(row["outbox_age_s"])
        metrics.waiting.replace({("quiet",): row["waiting_quiet"], ("due",): row["waiting_due"]})
        metrics.waiting_age.set(row["waiting_age_s"])

    def _work(self, row: asyncpg.Record) -> None:
        metrics = self._metrics
        metrics.running.replace(_each(row["running"], _PHASES))
        metrics.unowned.set(row["runs_past_lease"])
        metrics.open_claims.replace(_each(row["claims_past_lease"], _PURPOSES))
        metrics.deliveries.replace(_each(row["deliveries"], _DELIVERY_STATES))
        metrics.delivery_overdue.set(row["overdue_s"])
        metrics.unknown.set(row["unknown"])
        metrics.reviews.set(row["reviews"])
        metrics.review_age.set(row["review_age_s"])
        metrics.bookings.replace({(workspace, outcome): count for workspace, outcome, count in row["bookings"]})

    def _settings(self, row: asyncpg.Record) -> None:
        metrics, environment = self._metrics, set(row["off_in_environment"])
        in_database = {(name, "database"): float(disabled) for name, disabled, _ in row["switches"]}
        in_environment = {(each.value, "environment"): float(each.value in environment) for each in KillSwitch}
        metrics.switch_off.replace(in_database | in_environment)
        metrics.switch_changed.replace({(name,): float(at) for name, _, at in row["switches"]})
        metrics.workspaces.replace({("on",): row["revised_workspaces"], ("off",): row["other_workspaces"]})
        metrics.processes.replace({(role, version): count for role, version, count in row["processes"]})

    def _forget_standing(self) -> None:
        metrics = self._metrics
        told: tuple[Forgets, ...] = (
            metrics.unpublished,
            metrics.outbox_age,
            metrics.waiting,
            metrics.waiting_age,
            metrics.running,
            metrics.unowned,
            metrics.open_claims,
            metrics.deliveries,
            metrics.delivery_overdue,
            metrics.unknown,
            metrics.reviews,
            metrics.review_age,
            metrics.bookings,
            metrics.switch_off,
            metrics.switch_changed,
            metrics.workspaces,
            metrics.processes,
        )
        for each in told:
            each.forget()

    # ---- Kafka

    def _tell_lag(self, reading: Reading | None) -> None:
        """Every partition of every group; nothing when the last reading failed."""
        lags = reading.partitions if reading is not None else ()
        ages_s = reading.ages_s if reading is not None else {}
        metrics = self._metrics
        by_partition = {(each.group, each.topic, str(each.partition)): each for each in lags}
        records = {key: float(each.lag) for key, each in by_partition.items()}
        seconds = {key: ages_s[each.topic, each.partition] for key, each in by_partition.items()}
        by_topic, by_group = _summed(records, 2), _summed(records, 1)
        metrics.lag.replace(records)
        metrics.lag_sum.replace(by_topic)
        metrics.committed.replace({k: float(e.committed) for k, e in by_partition.items() if e.committed is not None})
        metrics.end_offset.replace({key[1:]: float(each.end) for key, each in by_partition.items()})
        metrics.members.replace(_members(lags))
        metrics.group_lag.replace(records)
        metrics.group_lag_s.replace(seconds)
        metrics.group_max_lag.replace(_largest(records))
        metrics.group_max_lag_s.replace(_largest(seconds))
        metrics.group_sum_lag.replace(by_group)
        metrics.group_topic_sum_lag.replace(by_topic)


async def _every(seconds: float, read: Callable[[], Awaitable[None]]) -> None:
    while True:
        await read()
        await asyncio.sleep(seconds)


async def look_for_drift(pool: Pool, metrics: WebMetrics) -> list[dict[str, Any]]:
    """What drifted in the last day, by workspace and monitor (view `analytics.drift`); sets the gauge."""
    rows = [dict(row) for row in await sql.metrics.drifted.rows(pool)]
    workspaces = Counts(row["monitor"] for row in rows if row["drifted"])
    metrics.drifted.replace({(row["monitor"],): float(workspaces[row["monitor"]]) for row in rows})
    return [row for row in rows if row["drifted"]]


def _each(counts: dict[str, int], known: Iterable[str]) -> dict[tuple[str], float]:
    """A value for each known label, and for no other."""
    return {(name,): float(counts.get(name, 0)) for name in known}


def _summed(values: dict[tuple[str, str, str], float], labels: int) -> dict[Any, float]:
    sums: dict[Any, float] = {}
    for key, value in values.items():
        sums[key[:labels]] = sums.get(key[:labels], 0.0) + value
    return sums


def _largest(values: dict[tuple[str, str, str], float]) -> dict[tuple[str], float]:
    largest: dict[tuple[str], float] = {}
    for (group, _, _), value in values.items():
        largest[group,] = max(largest.get((group,), 0.0), value)
    return largest


def _members(lags: Sequence[PartitionLag]) -> dict[tuple[str], float]:
    members = {(each.group, each.member) for each in lags if each.member != _NOBODY}
    counts = Counts(group for group, _ in members)
    return {(each.group,): float(counts[each.group]) for each in lags}
