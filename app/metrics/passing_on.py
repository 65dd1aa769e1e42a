"""What the ingest process counted, told by its worker: one target to scrape for both.

The child sends its samples with its figures; the worker adds them to its own of the same name and labels. What a child
that ended had counted stays, so that no sum ever goes back.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Sample

_ADDS_UP: Final = frozenset({"counter", "histogram"})

# Name, labels, value; as it goes through the pipe.
Passed = list[Any]
_Key = tuple[str, tuple[tuple[str, str], ...]]


def samples_of(registry: CollectorRegistry) -> list[Passed]:
    """Counters that are not 0, and histograms, for the pipe."""
    return [
        [sample.name, sample.labels, sample.value]
        for family in registry.collect()
        if family.type in _ADDS_UP
        for sample in family.samples
        if sample.value or family.type == "histogram"  # all of a histogram's buckets, or it reads wrongly
    ]


class ChildSamples:
    """The sums of all children that one worker had."""

    def __init__(self) -> None:
        self._before: dict[_Key, float] = {}
        self._now: dict[_Key, float] = {}

    def told(self, samples: Iterable[Passed]) -> None:
        """The child's sums as they are now."""
        self._now = {(name, tuple(sorted(labels.items()))): float(value) for name, labels, value in samples}

    def ended(self) -> None:
        """The child is gone; the next one begins at 0."""
        self._before, self._now = self.sums(), {}

    def sums(self) -> dict[_Key, float]:
        """In the order in which they were told: buckets stay in theirs."""
        return {key: self._before.get(key, 0.0) + self._now.get(key, 0.0) for key in {**self._before, **self._now}}


class _Both(Collector):
    """A registry with a child's sums added."""

    def __init__(self, registry: CollectorRegistry, sums: dict[_Key, float]) -> None:
        self._registry, self._sums = registry, sums

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            names = {sample.name for sample in family.samples} | set(_sample_names(family))
            added = {key: value for key, value in self._sums.items() if key[0] in names}
            yield _with(family, added) if added else family


def _sample_names(family: Metric) -> list[str]:
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ())
    return [family.name + end for end in ends]


def _with(family: Metric, added: dict[_Key, float]) -> Metric:
    both = Metric(family.name, family.documentation, family.type)
    for sample in family.samples:
        more = added.pop((sample.name, tuple(sorted(sample.labels.items()))), 0.0)
        both.samples.append(Sample(sample.name, sample.labels, sample.value + more))
    both.samples += [Sample(name, dict(labels), value) for (name, labels), value in added.items()]
    return both


def exposition(registry: CollectorRegistry, child: ChildSamples | None = None) -> bytes:
    """Everything in Prometheus' text format."""
    return generate_latest(_Both(registry, child.sums()) if child is not None else registry)
