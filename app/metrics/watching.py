"""What a worker knows of itself, read when it is asked for its metrics: nothing is counted twice for them."""

from typing import TYPE_CHECKING, Final

from app import __version__
from app.logging import allow_list
from app.metrics.catalogue import WorkerMetrics
from app.metrics.passing_on import exposition
from app.model.breaker import State
from schemas.topics import INBOUND_MESSAGE

if TYPE_CHECKING:
    from app.worker import Worker

_INGEST: Final = INBOUND_MESSAGE.name


def tell(worker: "Worker") -> bytes:
    """The metrics of a worker and its ingest process, in Prometheus' text format."""
    metrics = worker.metrics
    metrics.info.set(1.0, "worker", __version__)
    metrics.log_fields_dropped.set(allow_list.dropped_total)
    metrics.leases.set(worker.keeper.held)
    metrics.sends_in_flight.set(worker.deliveries.in_flight)
    metrics.ingest_starts.set(worker.ingest.starts)
    states, openings = worker.model.breaker.states(), worker.model.breaker.openings()
    metrics.breaker_open.replace({(model,): float(state is not State.CLOSED) for model, state in states.items()})
    metrics.breaker_openings.replace({(model,): float(count) for model, count in openings.items()})
    _tell_agents(worker, metrics)
    _tell_ingest(worker, metrics)
    return exposition(metrics.book.registry, worker.ingest.samples)


def _tell_agents(worker: "Worker", metrics: WorkerMetrics) -> None:
    for topic, pool in worker.pools.items():
        metrics.in_flight.set(pool.in_flight, topic)
        metrics.paused.set(float(pool.paused), topic)
        for fate, count in pool.counts.items():
            metrics.events.set(count, topic, fate)
    for topic, engine in worker.engines.items():
        metrics.fetch_age.set(engine.stalled_s, topic)
        metrics.broker_silent.set(engine.silence.seconds, topic)
        metrics.rebalances.set(engine.rebalances, topic)
        metrics.consumer_restarts.set(engine.restarts, topic)


def _tell_ingest(worker: "Worker", metrics: WorkerMetrics) -> None:
    """What the ingest process counts comes with its samples."""
    child = worker.ingest
    metrics.in_flight.set(float(child.figures.get("in_flight", 0)), _INGEST)
    metrics.paused.set(float(child.figures.get("paused", False)), _INGEST)
    metrics.fetch_age.set(child.silent_s, _INGEST)
    metrics.broker_silent.set(child.broker_silent_s, _INGEST)
