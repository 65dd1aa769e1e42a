"""A collector of OpenTelemetry over HTTP, and what a scrape says. Both as Prometheus and a real collector would see it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from prometheus_client.parser import text_string_to_metric_families

from app.stack.process import LOOPBACK

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass(frozen=True)
class Span:
    """One span as it arrived; ids in hex."""

    service: str
    name: str
    trace: str
    parent: str
    attributes: dict[str, Any]


class Collector:
    """`async with Collector() as collector: collector.url`. Keeps every span, and the bytes of every request."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.add_routes([web.post("/v1/traces", self._take)])
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, 0)
        await site.start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_span(service, each) for each in scope.spans]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )

    def of(self, trace: str) -> list[Span]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace == trace]


def _span(service: str, span: Any) -> Span:
    attributes = _attributes(span.attributes)
    return Span(service, span.name, span.trace_id.hex(), span.parent_span_id.hex(), attributes)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


async def fetched(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET on this machine."""

    def get() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()

    return await asyncio.to_thread(get)


async def reasons(port: int, path: str) -> list[str]:
    """What `/live` or `/ready` complains of."""
    _, body = await fetched(port, path)
    found: list[str] = json.loads(body)["reasons"]
    return found


async def scraped(port: int) -> tuple[Samples, bytes]:
    """Every sample of `/metrics`, and the text itself."""
    status, text = await fetched(port, "/metrics")
    assert status == 200
    return samples(text), text


def samples(text: bytes) -> Samples:
    """The samples of an exposition."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def total(found: Samples, name: str, **labels: str) -> float:
    """The sum of all samples of a name that have these labels."""
    return sum(value for (each, had), value in found.items() if each == name and labels.items() <= dict(had).items())
