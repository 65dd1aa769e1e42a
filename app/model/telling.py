"""What a model call tells metrics and traces, under the names of OpenTelemetry's conventions for generative AI."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from agents.ports import Answered, CallIdentity, Failed, ModelResult, Refused, Unusable
from agents.state import Ask
from app.metrics.catalogue import WorkerMetrics
from app.tracing import Noted, Tracing
from schemas.codes import Stage

_OPERATION: Final = "chat"  # what the conventions call a completion, over either API
_PROVIDER: Final = "openai"  # the protocol; the server may be anybody's


class Telling:
    """Counts the calls of one client. `clock` is monotonic, in seconds."""

    def __init__(self, metrics: WorkerMetrics, tracing: Tracing, clock: Callable[[], float]) -> None:
        self._metrics, self._tracing, self._clock = metrics, tracing, clock

    def span(self, ask: Ask, model: str, identity: CallIdentity) -> AbstractContextManager[Noted]:
        """The call's span."""
        return self._tracing.model_call(ask, model, identity)

    def call(self, stage: Stage, model: str, result: ModelResult | None, started: float, span: Noted) -> None:
        """A call that began at `started`; no result: it was cancelled."""
        metrics, seconds = self._metrics, self._clock() - started
        word, error = _result(result)
        span.set(result=word)
        if error:
            span.failed(error)
        metrics.model_calls.inc(stage.value, word)
        metrics.stage_s.observe(seconds, stage.value)
        metrics.model_call_s.observe(seconds, _OPERATION, _PROVIDER, model, error)
        if result is None or not (result.usage.input_tokens or result.usage.output_tokens):
            return
        span.usage(result.usage.input_tokens, result.usage.output_tokens)
        metrics.model_tokens.observe(result.usage.input_tokens, _OPERATION, _PROVIDER, model, "input")
        metrics.model_tokens.observe(result.usage.output_tokens, _OPERATION, _PROVIDER, model, "output")
        if result.usage.cost_usd is None:
            metrics.model_cost_unknown.inc(model)
        else:
            metrics.model_cost.inc(stage.value, model, by=result.usage.cost_usd)


def _result(result: ModelResult | None) -> tuple[str, str]:
    """The word for it, and `error_type`: a code of ours."""
    match result:
        case None:
            return "cancelled", "cancelled"
        case Answered():
            return "answered", ""
        case Unusable(code):
            return "unusable", code
        case Failed(code):
            return "failed", code
        case Refused(code):
            return "refused", code
