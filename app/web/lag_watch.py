"""Lag as pages show it: read every few seconds in the web process, with what was seen before.

Brokers tell records, not seconds: how old the first undone record is, and when a topic will be drained, follow from
earlier readings. A web process that has just started knows less, and says so by None.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from agents.persist import TRANSIENT
from app.config import Config
from app.groups import GROUPS
from app.kafka.lagging import PartitionLag, group_reader, watermarks_of
from app.metrics.lag import LagClock
from db.pool import Pool

log = structlog.get_logger()

READ_S: Final = 5.0
KEPT_S: Final = 3600.0
STALE_S: Final = 30.0
_RATE_S: Final = 60.0
_READ_S_MAX: Final = 10.0
_NOBODY: Final = "-"
POINTS_SHOWN: Final = 60


@dataclass(frozen=True)
class TopicLag:
    """One topic and its group. Lag in records, rates in records per second, `age_s` of the oldest undone record."""

    topic: str
    group: str
    state: str
    members: int
    partitions: int
    lag: int
    age_s: float
    arriving: float | None
    done: float | None
    drained_in_s: float | None

    @property
    def drains(self) -> bool:
        """Whether an end is in sight; true when nothing waits."""
        return not self.lag or self.drained_in_s is not None


@dataclass(frozen=True)
class Standing:
    """One partition, in the units of `TopicLag`. `committed` is None where the group has not committed yet."""

    topic: str
    group: str
    partition: int
    state: str
    member: str
    committed: int | None
    end: int
    lag: int
    age_s: float
    drained_in_s: float | None


@dataclass(frozen=True)
class Reading:
    """All partitions at one moment; `ages_s` by topic and partition."""

    at: datetime
    clock_s: float
    partitions: tuple[PartitionLag, ...]
    ages_s: dict[tuple[str, int], float]

    def of(self, topic: str, partition: int | None = None) -> list[PartitionLag]:
        return [each for each in self.partitions if each.topic == topic and partition in (None, each.partition)]


def _drained_in_s(lag: int, arriving: float | None, done: float | None) -> float | None:
    """Seconds until nothing waits, at the rates of the last minute; None when no end is in sight."""
    shrinks = (done or 0.0) - (arriving or 0.0)
    return 0.0 if not lag else lag / shrinks if shrinks > 0 else None


class LagWatch:
    """Keeps an hour of readings. `problem` is the class of the error when the last reading failed."""

    def __init__(self, config: Config, pool: Pool, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._pool, self._now = config, pool, clock
        self._noted_at = float("-inf")
        self._clock = LagClock()
        self.readings: deque[Reading] = deque(maxlen=int(KEPT_S / READ_S))
        self.problem: str | None = None

    async def run(self) -> None:
        """Read until cancelled; a broker that is away is asked again."""
        while True:
            try:
                async with group_reader(self._config) as reader:
                    while True:
                        async with asyncio.timeout(_READ_S_MAX):
                            self.note(await reader.lags(await watermarks_of(self._pool)), time.time())
                        await asyncio.sleep(READ_S)
            except Exception as error:  # whatever it is: with this task every alert about lag would end
                self.problem = type(error).__name__
                expected = isinstance(error, (*TRANSIENT, asyncpg.PostgresError, KafkaError))
                log.warning("lag_not_read", error_class=self.problem, exc_info=None if expected else error)
            await asyncio.sleep(READ_S)

    def note(self, lags: list[PartitionLag], now: float) -> None:
        """One reading, at `now` seconds of the wall clock."""
        ages = {}
        for each in lags:
            self._clock.note((each.topic, each.partition), each.end, now)
            ages[each.topic, each.partition] = self._clock.age_s((each.topic, each.partition), each.end - each.lag, now)
        self.readings.append(Reading(datetime.fromtimestamp(now, UTC), now, tuple(lags), ages))
        self.problem, self._noted_at = None, self._now()

    @property
    def latest(self) -> Reading | None:
        """The last reading, None while there is none, the last one failed, or none came for STALE_S."""
        fresh = self._now() - self._noted_at <= STALE_S
        return self.readings[-1] if self.readings and self.problem is None and fresh else None

    def topics(self) -> list[TopicLag]:
        """Each consumed topic, in the order of the flow; empty when nothing is known."""
        latest = self.latest
        return [self._topic(latest, topic) for topic in GROUPS if latest.of(topic)] if latest is not None else []

    def partitions(self) -> list[Standing]:
        """Each partition of each consumed topic, in the order of the flow; empty when nothing is known."""
        latest = self.latest
        return [self._standing(latest, each) for each in latest.partitions] if latest is not None else []

    def history(self) -> list[tuple[datetime, dict[str, int]]]:
        """Records waiting by topic, oldest first: the highest reading of each step, at most POINTS_SHOWN steps."""
        if not self.readings:
            return []
        begin = self.readings[0].clock_s
        step = max((self.readings[-1].clock_s - begin) / POINTS_SHOWN, READ_S)
        highest: dict[int, tuple[datetime, dict[str, int]]] = {}
        for reading in self.readings:
            _, seen = highest.setdefault(int((reading.clock_s - begin) / step), (reading.at, {}))
            lags = Counter[str]()
            for each in reading.partitions:
                lags[each.topic] += each.lag
            for topic, lag in lags.items():
                seen[topic] = max(lag, seen.get(topic, 0))
        return list(highest.values())

    def _standing(self, latest: Reading, row: PartitionLag) -> Standing:
        arriving, done = self._rates(latest, row.topic, row.partition)
        return Standing(
            topic=row.topic,
            group=row.group,
            partition=row.partition,
            state=row.state,
            member=row.member,
            committed=row.committed,
            end=row.end,
            lag=row.lag,
            age_s=latest.ages_s[row.topic, row.partition],
            drained_in_s=_drained_in_s(row.lag, arriving, done),
        )

    def _topic(self, latest: Reading, topic: str) -> TopicLag:
        rows = latest.of(topic)
        lag = sum(each.lag for each in rows)
        arriving, done = self._rates(latest, topic)
        return TopicLag(
            topic=topic,
            group=rows[0].group,
            state=rows[0].state,
            members=len({each.member for each in rows} - {_NOBODY}),
            partitions=len(rows),
            lag=lag,
            age_s=max(latest.ages_s[topic, each.partition] for each in rows),
            arriving=arriving,
            done=done,
            drained_in_s=_drained_in_s(lag, arriving, done),
        )

    def _rates(self, latest: Reading, topic: str, partition: int | None = None) -> tuple[float | None, float | None]:
        """Records per second that arrived and that were done, over the last minute; None with one reading."""
        first = next((each for each in self.readings if latest.clock_s - each.clock_s <= _RATE_S), latest)
        passed = latest.clock_s - first.clock_s
        if passed <= 0:
            return None, None
        before, after = first.of(topic, partition), latest.of(topic, partition)
        arrived = sum(each.end for each in after) - sum(each.end for each in before)
        done = sum(each.end - each.lag for each in after) - sum(each.end - each.lag for each in before)
        return max(arrived, 0) / passed, max(done, 0) / passed
