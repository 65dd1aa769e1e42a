"""Spans, when a collector is given (OTEL_EXPORTER_OTLP_ENDPOINT); else nothing, at no cost.

Every span carries the trace id of the producer's `traceparent`: one trace shows a message from ingest to its delivery.
Attributes are codes, numbers and ids of ours: no text, no key, no message of an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from app import __version__
from app.config import Config, ConfigError
from schemas.traces import read_traceparent

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AttributeValue

    from agents.dead_letters import Incoming
    from agents.ports import CallIdentity, Outgoing
    from agents.state import Ask
    from app.kafka.engine import Record

_FLUSH_MS: Final = 5_000


class Noted:
    """A span under way, or none."""

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    def set(self, **attributes: AttributeValue) -> None:
        """Attributes under `draft_pipeline.`."""
        if self._span is not None:
            self._span.set_attributes({f"draft_pipeline.{name}": value for name, value in attributes.items()})

    def usage(self, input_tokens: int, output_tokens: int) -> None:
        if self._span is not None:
            self._span.set_attribute("gen_ai.usage.input_tokens", input_tokens)
            self._span.set_attribute("gen_ai.usage.output_tokens", output_tokens)

    def failed(self, error_type: str) -> None:
        """`error_type` is a code or the name of a class."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("error.type", error_type)
            self._span.set_status(StatusCode.ERROR)


_OFF: Final = nullcontext(Noted())


class Tracing:
    """The spans of one process. Without a provider every span is none."""

    def __init__(self, provider: Any = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("draft-pipeline", __version__) if provider is not None else None

    def event(self, record: Record, group: str) -> AbstractContextManager[Noted]:
        """An agent works on a record."""
        if self._tracer is None:
            return _OFF
        place = _record_attributes(record.topic, record.partition, record.offset)
        attributes = {**place, "messaging.consumer.group.name": group}
        header = record.headers.get("traceparent")
        return self._span(self._tracer, f"process {record.topic}", "CONSUMER", attributes, read_traceparent(header))

    def ingested(self, batch: Sequence[Incoming], began_ns: int) -> None:
        """A batch is committed: a span for each record whose producer gave a trace."""
        if self._tracer is None:
            return
        from opentelemetry.trace import SpanKind

        for record in batch:
            if record.traceparent is not None:
                attributes = _record_attributes(record.topic, record.partition, record.offset)
                name, context = f"ingest {record.topic}", _context(record.traceparent)
                kind = SpanKind.CONSUMER
                self._tracer.start_span(name, context, kind, attributes, start_time=began_ns).end()

    def model_call(self, ask: Ask, model: str, identity: CallIdentity) -> AbstractContextManager[Noted]:
        """A request to the model server; child of the event that asks."""
        if self._tracer is None:
            return _OFF
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            "draft_pipeline.stage": ask.stage.value,
            "draft_pipeline.iteration": ask.iteration,
            "draft_pipeline.run_id": str(identity.run_id),
        }
        return self._span(self._tracer, f"chat {model}", "CLIENT", attributes)

    def send(self, outgoing: Outgoing) -> AbstractContextManager[Noted]:
        """A request to a provider."""
        if self._tracer is None:
            return _OFF
        attributes = {
            "draft_pipeline.channel": outgoing.channel,
            "draft_pipeline.draft_id": str(outgoing.draft_id),
            "draft_pipeline.automatic": outgoing.automatic,
        }
        return self._span(self._tracer, f"send {outgoing.channel}", "CLIENT", attributes, outgoing.traceparent)

    @contextmanager
    def _span(
        self, tracer: Tracer, name: str, kind: str, attributes: dict[str, Any], traceparent: str | None = None
    ) -> Iterator[Noted]:
        from opentelemetry.trace import SpanKind

        with tracer.start_as_current_span(
            name,
            context=_context(traceparent),
            kind=SpanKind[kind],
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            noted = Noted(span)
            try:
                yield noted
            except BaseException as error:
                noted.failed(type(error).__qualname__)
                raise

    def close(self) -> None:
        """Send what is left. Blocks for seconds at most: call it in a thread."""
        if self._provider is not None:
            self._provider.force_flush(_FLUSH_MS)
            self._provider.shutdown()


def _record_attributes(topic: str, partition: int, offset: int) -> dict[str, AttributeValue]:
    place: dict[str, AttributeValue] = {
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": offset,
    }
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        **(place if offset >= 0 else {}),
    }


def _context(traceparent: str | None) -> Any:
    """The producer's span as parent; None: the current one."""
    if traceparent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def tracing_for(config: Config, role: str) -> Tracing:
    """What OTEL_EXPORTER_OTLP_ENDPOINT asks for; the SDK reads OTEL_TRACES_SAMPLER and OTEL_EXPORTER_OTLP_HEADERS.

    Raises ConfigError when the packages are not installed.
    """
    if config.otel_exporter_otlp_endpoint is None:
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError("OTEL_EXPORTER_OTLP_ENDPOINT", "needs packages that are not installed") from None
    resource = Resource({"service.name": f"draft-pipeline-{role}", "service.version": __version__})
    provider = TracerProvider(resource=resource)
    endpoint = config.otel_exporter_otlp_endpoint.rstrip("/") + "/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Tracing(provider)
