"""Many sends through providers that cut, refuse and fail, by workers that are killed; then the receivers' own ledgers."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.stack.ledger import read_ledger
from tests.story.audit import tally, violations
from tests.story.evidence import Evidence, gather
from tests.story.harness import Pipeline, pipeline
from tests.story.rows import Row, Workspace, row

WORKERS = 2
SHARE = 0.05  # of each kind of fault
MAIL_SHARE = 0.3
SLOW = {"latency_ms": 100, "latency_ms_max": 700}  # so that a kill meets calls under way
FAULTS = {
    "webhook": {"p_cut_after": SHARE, "p_cut_before": SHARE, "p500": SHARE, **SLOW},
    "mail": {"p_cut_after": SHARE, "p_cut_before": SHARE, "p_4xx": SHARE, **SLOW},
}
PAUSE_S = (0.5, 2.5)
HEAL_S_MAX = 240.0
TAKEN = ("accepted", "cut_after")


@dataclass
class Sends:
    """How a run was set up and what came of it."""

    seed: int
    asked_for: int
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    killed_amid: int = 0
    finished: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def table(self) -> list[tuple[str, str]]:
        """What to tell, as label and value."""
        counted = self.finished
        return [
            ("seed", str(self.seed)),
            ("sends asked for", str(self.asked_for)),
            ("kills", str(self.kills)),
            ("calls under way when killed", str(self.killed_amid)),
            *((f"provider: {name}", str(count)) for name, count in sorted(self.faults.items())),
            ("messages accepted", str(counted["accepted"])),
            ("deliveries sent", str(counted["delivery:sent"])),
            ("unknown, shown to a person", str(counted["delivery:unknown"])),
            ("deliveries refused", str(counted["delivery:refused"])),
            ("seconds", f"{self.seconds:.0f}"),
            ("violations", str(len(self.violations))),
        ]


def messages(count: int) -> tuple[list[Workspace], list[Row]]:
    """`count` messages of as many leads, each sure to be answered by itself: most in a chat, some by mail."""
    workspace = Workspace("ws-sends", settings={"quiet_window_s": 0.0, "running_runs_max": 40})
    mails = round(count * MAIL_SHARE)
    rows = []
    for number in range(count):
        mail = {"channel": "email", "from_address": f"lead{number}@example.net", "subject": "A question",
                "lead": {"email": f"lead{number}@example.net"}} if number < mails else {}  # fmt: skip
        rows.append(row(workspace.id, f"lead-{number}", "!!confident hello", **mail))
    return [workspace], rows


async def run_sends(
    folder: Path, count: int, *, kills: int, seed: int, hurry: bool = False, say: Callable[[str], None] = print
) -> Sends:
    """Produce all messages, kill somebody amid the sends, again and again, and start another in their place.

    :param hurry: let what a dead worker held lapse at once instead of when its lease ends.
    """
    sends, dice = Sends(seed, count), random.Random(seed)
    workspaces, rows = messages(count)
    dice.shuffle(rows)
    began = time.monotonic()
    async with pipeline(folder, WORKERS, workspaces) as running:
        for part, faults in FAULTS.items():
            getattr(running.stack, part).behave(faults)
        share = -(-len(rows) // (kills + 1))
        for number in range(kills):
            await running.produce(rows[number * share : (number + 1) * share])
            dead = await _kill_amid_sends(running, sends, dice)
            if hurry:
                await running.db.execute("UPDATE delivery SET lease_until = now() WHERE lease_owner = $1", dead)
            say(f"kill {number + 1} of {kills}")
        await running.produce(rows[kills * share :])
        sends.violations = await _settled(running)
        evidence = await gather(running)
    sends.violations += violations(evidence) + unsettled(evidence) + more_than_one(folder)
    sends.finished, sends.faults = tally(evidence), provider_outcomes(folder)
    sends.seconds = time.monotonic() - began
    return sends


async def _kill_amid_sends(running: Pipeline, sends: Sends, dice: random.Random) -> str:
    """SIGKILL for a worker that has a provider call under way, after a random while; another takes its place. Returns
    who died."""
    await asyncio.sleep(dice.uniform(*PAUSE_S))

    async def busy() -> str | None:
        found: str | None = await running.db.fetchval(
            "SELECT lease_owner FROM delivery WHERE status = 'claimed' AND lease_until > now() AND lease_owner = ANY ($1)"
            " LIMIT 1", [worker.process_id for worker in running.alive]
        )  # fmt: skip
        return found

    owner: str = await running.until(busy, 60.0, "a worker has a call under way")
    victim = next(worker for worker in running.alive if worker.process_id == owner)
    await victim.kill()
    sends.killed_amid += await running.db.fetchval(
        "SELECT count(*) FROM delivery WHERE status = 'claimed' AND lease_owner = $1", owner
    )
    sends.kills += 1
    await running.start(1)
    return owner


async def _settled(running: Pipeline) -> list[str]:
    try:
        await running.idle(HEAL_S_MAX)
    except AssertionError as error:
        return [f"not healed: {error}"]
    return []


# ---- what must hold, beside the audit of every story


def more_than_one(folder: Path) -> list[str]:
    """In the receivers' own ledgers: at most one accepted message per draft."""
    chats = [line["key"] for line in read_ledger(folder / "webhook.jsonl") if line["outcome"] in TAKEN]
    mails = [line["message_id"] for line in read_ledger(folder / "mail.jsonl") if line["outcome"] in TAKEN]
    return [f"{key} was accepted {count} times" for key, count in Counter(chats + mails).items() if count > 1]


def provider_outcomes(folder: Path) -> Counter[str]:
    """What the receivers did, by their own account."""
    lines = [*read_ledger(folder / "webhook.jsonl"), *read_ledger(folder / "mail.jsonl")]
    return Counter(line["outcome"] for line in lines)


def unsettled(evidence: Evidence) -> list[str]:
    """Every unknown is settled, or an open review shows it to a person; nothing is left claimed."""
    asked = {str(row["draft_id"]) for row in evidence.tables["review_request"] if row["status"] == "open"}
    found = [f"delivery {row['id']} is still {row['status']}" for row in evidence.tables["delivery"]
             if row["status"] in ("claimed", "scheduled")]  # fmt: skip
    return found + [
        f"delivery {row['id']} is unknown, and nobody is asked"
        for row in evidence.tables["delivery"]
        if row["status"] == "unknown" and str(row["draft_id"]) not in asked
    ]
