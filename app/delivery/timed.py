"""An adapter whose sends are told: how long each took, and what came of it."""

import time
from collections.abc import Mapping
from typing import Any

from agents.ports import ChannelAdapter, Outgoing, SendRefused, SendResult, SendUnknown, Sent
from app.delivery import Pick
from app.metrics.catalogue import WorkerMetrics
from app.tracing import Tracing


class TimedAdapter:
    """`adapter`, observed."""

    def __init__(self, adapter: ChannelAdapter, metrics: WorkerMetrics, tracing: Tracing) -> None:
        self._adapter, self._metrics, self._tracing = adapter, metrics, tracing
        self.capabilities = adapter.capabilities

    @property
    def route(self) -> str:
        return self._adapter.route

    async def send(self, outgoing: Outgoing, timeout_s: float) -> SendResult:
        """Whatever it raises passes; it is told as unknown, which is what it will be taken for."""
        began, word = time.monotonic(), "unknown"
        with self._tracing.send(outgoing) as span:
            try:
                result = await self._adapter.send(outgoing, timeout_s)
                word = _word(result)
            finally:
                self._metrics.send_s.observe(time.monotonic() - began, outgoing.channel, word)
                span.set(result=word)
        return result

    async def look_up(self, outgoing: Outgoing, timeout_s: float) -> SendResult | None:
        return await self._adapter.look_up(outgoing, timeout_s)


def timed(pick: Pick, metrics: WorkerMetrics, tracing: Tracing) -> Pick:
    """`pick`, every adapter of it observed."""

    def picked(channel: str, channel_config: Mapping[str, Any] | None) -> ChannelAdapter | None:
        adapter = pick(channel, channel_config)
        return None if adapter is None else TimedAdapter(adapter, metrics, tracing)

    return picked


def _word(result: SendResult) -> str:
    match result:
        case Sent():
            return "sent"
        case SendRefused(temporary=True):
            return "postponed"
        case SendRefused():
            return "refused"
        case SendUnknown():
            return "unknown"
