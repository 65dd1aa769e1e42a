"""What the database does for one standard run: `python -m tests.bench.statements`, from its own log of durations.

The durations are wall time on the server, planning and writing included, the flush of a COMMIT too. A few runs at a
time, so that waiting for a processor hardly counts.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from db import sql
from tests.bench.arena import Arena, arena

_RUNS: Final = 60
_AT_A_TIME: Final = 3
_WARM_UP: Final = 30
_S_MAX: Final = 120.0
_ROWS: Final = 60
_HEAD: Final = "| calls a run | µs a run | of it parse and plan | |"
_SETTLE_S: Final = 1.0
_LINE: Final = re.compile(r"duration: ([\d.]+) ms  (parse|bind|execute|statement)(?: [^:]*)?: (.*)", re.DOTALL)
_STAMP: Final = re.compile(r"^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", re.MULTILINE)
_SPACE: Final = re.compile(r"\s+")


def names() -> dict[str, str]:
    """Query name by its text, blanks folded."""
    modules = (sql.delivery, sql.draft, sql.ingest, sql.model_call, sql.outbox, sql.review, sql.run)
    return {_fold(query.text): query.name for module in modules for query in module}


def _fold(text: str) -> str:
    return _SPACE.sub(" ", re.sub(r"--[^\n]*", "", text)).strip().rstrip(";").strip()


def read_log(text: str) -> Iterable[tuple[str, str, float]]:
    """(step, statement, milliseconds) of every logged duration."""
    for entry in _STAMP.split(text):
        found = _LINE.search(entry)
        if found:
            statement = found[3].partition("\nDETAIL:")[0]
            yield found[2], _fold(statement), float(found[1])


async def take() -> str:
    """Markdown: statements a run, and milliseconds of the server by statement."""
    async with arena() as place:
        await place.worker()
        await _runs(place, _WARM_UP, 0)
        await place.pool.execute("ALTER SYSTEM SET log_min_duration_statement = 0")
        await place.pool.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(_SETTLE_S)
        log = place.stack.dir / "log" / "postgres.log"
        begin = log.stat().st_size
        await _runs(place, _RUNS, _WARM_UP)
        return _report(_since(log, begin))


async def _runs(place: Arena, count: int, before: int) -> None:
    for done in range(0, count, _AT_A_TIME):
        await place.produce(place.messages(_AT_A_TIME))
        await place.sent(before + done + _AT_A_TIME, _S_MAX)


def _since(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")


@dataclass
class Spent:
    """One statement's microseconds a run, by step, and how often it ran."""

    calls: float = 0.0
    us: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def total(self) -> float:
        return sum(self.us.values())


def _report(text: str) -> str:
    known, spent = names(), defaultdict[str, Spent](Spent)
    for step, statement, ms in read_log(text):
        entry = spent[known.get(statement) or statement[:70]]
        entry.us[step] += ms * 1000 / _RUNS
        entry.calls += (step in ("execute", "statement")) / _RUNS
    lines = [
        f"| {each.calls:.2f} | {each.total:,.0f} | {each.us['parse'] + each.us['bind']:,.0f} | `{name}` |"
        for name, each in sorted(spent.items(), key=lambda item: -item[1].total)[:_ROWS]
    ]
    total, calls = sum(each.total for each in spent.values()), sum(each.calls for each in spent.values())
    head = f"Server: {calls:.1f} statements and {total / 1000:.1f} ms a run (bench's own polling included)"
    return "\n".join([head, "", _HEAD, "|---:|---:|---:|---|", *lines]) + "\n"


def main() -> int:
    """Print the report."""
    print(uvloop.run(take()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
