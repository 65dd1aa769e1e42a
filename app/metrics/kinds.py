"""The kinds of metric, over prometheus_client. Nothing else imports it, so nothing else can create a metric.

The type checker knows how many labels each has: `Counter[str, str]` is counted with two values, no more and no less.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVarTuple

import prometheus_client as prometheus
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE: Final = prometheus.CONTENT_TYPE_LATEST

Ls = TypeVarTuple("Ls")

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


class Unit(StrEnum):
    """Base units. A metric's name ends with its unit; a counter's with `_total` after it."""

    SECONDS = "seconds"
    USD = "usd"
    RATIO = "ratio"
    TOKENS = "token_usage"
    ROWS = "rows"
    RECORDS = "records"
    COUNT = ""


@dataclass(frozen=True)
class Declared:
    """One metric as it is exposed. `kind` is `counter`, `gauge` or `histogram`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def unit(self) -> Unit:
        """What its name ends with; a number of things where that is no unit."""
        stem = self.name.removesuffix("_total")
        return next((unit for unit in Unit if unit and stem.endswith(f"_{unit}")), Unit.COUNT)


class Book:
    """What one process tells. A registry of its own: two processes' metrics never mix, in tests neither."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self.declared: dict[str, Declared] = {}

    def declare(self, declared: Declared) -> None:
        """Raises ValueError for a name that is taken."""
        if declared.name in self.declared:
            raise ValueError(f"{declared.name} is declared twice")
        self.declared[declared.name] = declared


class Counter(Generic[*Ls]):
    """Goes up. `known` label values stand at 0 from the start, so that a first increase is an increase."""

    def __init__(
        self,
        book: Book,
        name: str,
        text: str,
        *labels: *Ls,
        known: Iterable[tuple[*Ls]] = (),
    ) -> None:
        names = _names(labels)
        book.declare(Declared(name, "counter", names, text))
        self._counter = prometheus.Counter(name, text, names, registry=book.registry)
        self._series: dict[
            tuple[*Ls], prometheus.Counter
        ] = {}  # looking a series up by its labels costs ten times more
        for values in known:
            self._of(values)

    def _of(self, values: tuple[*Ls]) -> prometheus.Counter:
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = self._counter.labels(*values) if values else self._counter
        return series

    def inc(self, *values: *Ls, by: float = 1.0) -> None:
        self._of(values).inc(by)


class Histogram(Generic[*Ls]):
    """Observations in buckets. `buckets`: upper bounds in the metric's unit; infinity is added."""

    def __init__(self, book: Book, name: str, text: str, *labels: *Ls, buckets: Iterable[float]) -> None:
        names = _names(labels)
        book.declare(Declared(name, "histogram", names, text))
        self._histogram = prometheus.Histogram(name, text, names, registry=book.registry, buckets=tuple(buckets))
        self._series: dict[tuple[*Ls], prometheus.Histogram] = {}

    def observe(self, value: float, *values: *Ls) -> None:
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = self._histogram.labels(*values) if values else self._histogram
        series.observe(value)


class Forgets:
    """Something that is read, and may be unknown for a while."""

    def __init__(self) -> None:
        self._values: dict[tuple[Any, ...], float] = {}

    def forget(self) -> None:
        """Tell nothing until the next reading."""
        self._values = {}


class _Read(Forgets, Generic[*Ls]):
    """What is read from elsewhere just before it is told. What is not read any more is not told any more."""

    family: type[Metric]

    def __init__(self, book: Book, name: str, text: str, *labels: *Ls) -> None:
        super().__init__()
        self._names, self._name, self._text = _names(labels), name, text
        kind = "counter" if self.family is CounterMetricFamily else "gauge"
        book.declare(Declared(name, kind, self._names, text))
        book.registry.register(self)

    def set(self, value: float, *values: *Ls) -> None:
        self._values[values] = value

    def replace(self, values: Mapping[tuple[*Ls], float]) -> None:
        """All values at once."""
        self._values = dict(values)

    def collect(self) -> Iterator[Metric]:
        family = self.family(self._name, self._text, labels=self._names)  # type: ignore[call-arg]
        for values, value in self._values.items():
            family.add_metric([str(each) for each in values], value)  # type: ignore[attr-defined]
        yield family


class Gauge(_Read[*Ls]):
    """A value that goes up and down."""

    family = GaugeMetricFamily


class Total(_Read[*Ls]):
    """A counter whose sum somebody else keeps."""

    family = CounterMetricFamily


def _names(labels: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(label) for label in labels)
