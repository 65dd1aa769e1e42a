"""What a row of the bench found, as a table and as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

LIBRARIES: Final = ("faust-streaming", "aiokafka", "asyncpg", "openai", "aiohttp", "pydantic", "uvloop", "dbos")
_RULE: Final = "-"
_GAP: Final = "  "


@dataclass(frozen=True)
class Figure:
    """One judged number. `sides` holds what was measured on both sides, `aim` None: shown, not judged.

    `others_cpus`: how many CPUs processes that have nothing to do with the bench used while the row was measured.
    """

    row: str
    name: str
    definition: str
    value: float
    unit: str
    aim: float | None
    at_most: bool
    sides: dict[str, float | str] = field(default_factory=dict)
    note: str = ""
    others_cpus: float = 0.0

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return math.isfinite(self.value) and (self.value <= self.aim if self.at_most else self.value >= self.aim)

    @property
    def verdict(self) -> str:
        return {None: "", True: "met", False: "missed"}[self.met]

    @property
    def aim_text(self) -> str:
        return "" if self.aim is None else f"{'<=' if self.at_most else '>='} {_number(self.aim)} {self.unit}"


@dataclass(frozen=True)
class Failure:
    """A row that could not be measured, and why."""

    row: str
    reason: str


Result = Figure | Failure


def machine() -> dict[str, Any]:
    """What the figures depend on; no name of host or user."""
    facts = {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
    return facts | {"libraries": {name: version(name) for name in LIBRARIES}}


def write_json(path: Path, results: Sequence[Result], quick: bool) -> None:
    """`results.json`: figures, aims, whether met, the machine, the date."""
    rows = [
        {"error": each.reason, "row": each.row} if isinstance(each, Failure) else {**asdict(each), "met": each.met}
        for each in results
    ]
    whole = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine(),
        "figures": rows,
    }
    path.write_text(json.dumps(whole, indent=2) + "\n")


def table(results: Sequence[Result]) -> str:
    """The results as text: one line a figure, its definition and both sides below it."""
    lines = [("figure", "value", "aim", "")]
    for each in results:
        if isinstance(each, Failure):
            lines.append((each.row, "failed", "", ""))
        else:
            lines.append((each.name, f"{_number(each.value)} {each.unit}", each.aim_text, each.verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    head = _line(lines[0], widths)
    body = [_RULE * len(head)]
    for line, each in zip(lines[1:], results, strict=True):
        body.append(_line(line, widths))
        body += [f"    {text}" for text in _details(each)]
    return "\n".join([head, *body])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _details(each: Result) -> Iterator[str]:
    if isinstance(each, Failure):
        yield each.reason
        return
    yield each.definition
    if each.sides:
        yield "; ".join(
            f"{name}: {value if isinstance(value, str) else _number(value)}" for name, value in each.sides.items()
        )
    if each.note:
        yield each.note
    yield f"other processes used {_number(each.others_cpus)} CPUs meanwhile."


def _number(value: float) -> str:
    """Three digits that matter, thousands apart."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
