"""`python -m tests.bench [--only row,row] [--quick]`: measure and print one table; all rows at full size are written to
results.json."""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from tests.bench.cpu import Moment
from tests.bench.figures import Failure, Figure, Result, table, write_json
from tests.bench.progress import say

ROWS: Final = (
    "overhead",
    "dbos",
    "ingest",
    "concurrency",
    "independence",
    "memory",
    "recovery",
    "retention",
    "growth",
    "hard_blocks",
)
RESULTS: Final = Path(__file__).with_name("results.json")


async def measure(row: str, quick: bool) -> list[Result]:
    """The figures of one row; a row that fails says why and keeps nobody else from being measured."""
    say(f"{row} ...")
    before = Moment.now()
    try:
        figures: list[Figure] = await importlib.import_module(f"tests.bench.rows.{row}").measure(quick)
    except Exception as error:
        return [Failure(row, f"{type(error).__name__}: {error}")]
    after = Moment.now()
    others = before.others_cpus(after)
    say(f"{row}: {after.at_s - before.at_s:.0f} s, other processes used {others:.2f} CPUs")
    return [replace(figure, others_cpus=round(others, 2)) for figure in figures]


async def measure_all(rows: list[str], quick: bool) -> list[Result]:
    return [result for row in rows for result in await measure(row, quick)]


def main() -> int:
    """0 when every row was measured, 1 when one failed. An aim that is missed is a finding, not a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure, as ratios.")
    parser.add_argument("--only", default=",".join(ROWS), help=f"rows, of {','.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="a fast look whether everything works; figures are rough")
    parser.add_argument("--output", type=Path, help=f"where the JSON goes; of all rows at full size {RESULTS.name}")
    arguments = parser.parse_args()
    rows = [row.strip() for row in arguments.only.split(",") if row.strip()]
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        parser.error(f"unknown row {unknown[0]}")
    results = uvloop.run(measure_all(rows, arguments.quick))
    print(table(results))
    everything = not arguments.quick and set(rows) == set(ROWS)
    if output := arguments.output or (RESULTS if everything else None):
        write_json(output, results, arguments.quick)
    return int(any(isinstance(result, Failure) for result in results))


if __name__ == "__main__":
    sys.exit(main())
