"""`make chaos`: kill workers at random moments and prove that nothing is sent twice, asked twice or lost."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.killing import WORKERS, rows_of, run_chaos
from tests.chaos.sends import run_sends
from tests.story.takeover import TAKEOVER_S_MAX

KILLS = 20
SHOWN_MAX = 40


def read_arguments() -> argparse.Namespace:
    """What may be chosen."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats a run's moments")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--file", default="insurance", help="a shared file, by its name without .jsonl")
    parser.add_argument("--sends", type=int, default=None, help="so many sends through providers that fail, instead")
    parser.add_argument("--messages", type=int, default=None, help="only so many of its messages")
    return parser.parse_args()


async def main() -> int:
    """Run and print; 1 when a guarantee was violated."""
    chosen = read_arguments()
    if chosen.sends is not None:
        return await sending(chosen.sends, chosen.kills, chosen.seed)
    rows = rows_of(chosen.file, chosen.messages)
    print(
        f"chaos: seed {chosen.seed}, {len(rows)} messages, {chosen.kills} kills, {chosen.workers} workers", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = await run_chaos(Path(folder), rows, kills=chosen.kills, seed=chosen.seed, workers=chosen.workers)
    late = [f"taken over late: {each}" for each in chaos.takeovers if each.first_s > TAKEOVER_S_MAX]
    return report(chaos.table(), chaos.violations + late)


async def sending(count: int, kills: int, seed: int) -> int:
    """Run and print what became of `count` sends."""
    print(f"sends: seed {seed}, {count} sends, {kills} kills", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        sends = await run_sends(Path(folder), count, kills=kills, seed=seed)
    return report(sends.table(), sends.violations)


def report(table: list[tuple[str, str]], violations: list[str]) -> int:
    """Print figures and violations; 1 when there are any."""
    for label, value in table:
        print(f"  {label:<28}{value:>10}")
    for violation in violations[:SHOWN_MAX]:
        print(f"  VIOLATION {violation}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
