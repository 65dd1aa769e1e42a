"""`--since`: how far back a command looks."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from app.cli.shell import WrongUse

_SPAN: Final = re.compile(r"(\d{1,5})([hd])")


def moment_of(since: str, now: datetime | None = None) -> datetime:
    """`24h`, `30d` or an ISO date, as a moment in UTC. Raises WrongUse."""
    now = now or datetime.now(UTC)
    if span := _SPAN.fullmatch(since):
        return now - (timedelta(hours=int(span[1])) if span[2] == "h" else timedelta(days=int(span[1])))
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise WrongUse(f"--since {since}: give hours (24h), days (30d) or a date (2026-11-21)") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
