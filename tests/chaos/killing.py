"""Real messages through real workers that are killed at random moments, then the audit."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.story.audit import tally, violations
from tests.story.evidence import gather
from tests.story.harness import Pipeline, pipeline
from tests.story.rows import Row, Workspace, planted, real_rows
from tests.story.takeover import Takeover, watch

WORKERS = 3
PAUSE_S_MAX = 3.0
HEAL_S_MAX = 150.0
LATENCY_MS = {"latency_ms": 50, "latency_ms_max": 400}


@dataclass
class Chaos:
    """How a run was set up and what came of it."""

    seed: int
    kills: int
    messages: int
    takeovers: list[Takeover] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    finished: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def takeover_s(self) -> float:
        """The longest time from a kill to the first of its runs in other hands."""
        return max((each.first_s for each in self.takeovers), default=0.0)

    def table(self) -> list[tuple[str, str]]:
        """What to tell, as label and value."""
        counted = self.finished
        rescued = sum(each.runs for each in self.takeovers)
        return [
            ("seed", str(self.seed)),
            ("messages", str(counted["messages"])),
            ("kills", str(len(self.takeovers))),
            ("runs taken over", str(rescued)),
            ("takeover, longest", f"{self.takeover_s:.1f} s"),
            ("runs completed", str(counted["COMPLETED"])),
            ("runs superseded", str(counted["ABORTED"])),
            ("sends accepted", str(counted["accepted"])),
            ("reviews", str(counted["action:needs_review"])),
            ("revisions applied", str(counted["revision:applied"])),
            ("revisions not improved", str(counted["revision:not_improved"])),
            ("revisions interrupted", str(counted["revision:interrupted"])),
            ("deliveries unknown", str(counted["delivery:unknown"])),
            ("seconds", f"{self.seconds:.0f}"),
            ("violations", str(len(self.violations))),
        ]


def rows_of(file: str, count: int | None) -> list[Row]:
    """The messages of a shared file, by its name without ending, with markers that must never leak."""
    return planted(real_rows(file, count))


async def run_chaos(
    folder: Path, rows: list[Row], *, kills: int, seed: int, workers: int = WORKERS, say: Callable[[str], None] = print
) -> Chaos:
    """Produce in as many parts as there are kills; kill somebody amid each part and start another in their place."""
    chaos, dice = Chaos(seed, kills, len(rows)), random.Random(seed)
    workspaces = [Workspace(each, settings={"quiet_window_s": 0.5}) for each in {row["workspace_id"] for row in rows}]
    began = time.monotonic()
    async with pipeline(folder, workers, workspaces) as running:
        running.stack.model.behave({"default": LATENCY_MS})
        watching: list[asyncio.Task[Takeover]] = []
        part = -(-len(rows) // (kills + 1))
        for number in range(kills):
            await running.produce(rows[number * part : (number + 1) * part])
            await asyncio.sleep(dice.uniform(0.1, PAUSE_S_MAX))  # the random moment
            watching.append(await _kill_one(running, dice))
            say(f"kill {number + 1} of {kills}")
        await running.produce(rows[kills * part :])
        chaos.takeovers = list(await asyncio.gather(*watching))
        chaos.violations = await _heal(running)
        evidence = await gather(running)
        chaos.violations += violations(evidence)
        chaos.finished = tally(evidence)
    chaos.seconds = time.monotonic() - began
    return chaos


async def _kill_one(running: Pipeline, dice: random.Random) -> asyncio.Task[Takeover]:
    victim = dice.choice(running.alive)
    await victim.kill()
    watching = asyncio.create_task(watch(running, victim))
    await running.start(1)
    return watching


async def _heal(running: Pipeline) -> list[str]:
    try:
        await running.idle(HEAL_S_MAX)
    except AssertionError as error:
        return [f"not healed: {error}"]
    return []
