"""What `web` tells Prometheus: its own requests, and for all processes what stands in Postgres and on the broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app import __version__
from app.config import Config
from app.health import metrics_route, serve
from app.logging import allow_list
from app.metrics.catalogue import WebMetrics
from app.metrics.exporter import Exporter
from app.metrics.passing_on import exposition
from app.web.lag_watch import LagWatch
from db.pool import Pool


def tell(metrics: WebMetrics) -> bytes:
    """Everything, in Prometheus' text format."""
    metrics.info.set(1.0, "web", __version__)
    metrics.log_fields_dropped.set(allow_list.dropped_total)
    return exposition(metrics.book.registry)


@asynccontextmanager
async def exporting(config: Config, pool: Pool, lag: LagWatch, metrics: WebMetrics) -> AsyncIterator[None]:
    """Read on a schedule while inside; with WEB_METRICS_PORT serve `/metrics` there, to whoever reaches that port."""
    port = config.web_metrics_port
    reading = asyncio.create_task(Exporter(pool, lag, metrics).run())
    site = await serve([metrics_route(lambda: tell(metrics))], port) if port is not None else None
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        if site is not None:
            await site.cleanup()
