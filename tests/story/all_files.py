"""`python -m tests.story.all_files`: all shared files through everything, with simulated reviewers, then recounted.

Takes minutes. Prints what was finished, and every violation of a guarantee and every difference between a view and its
recount; then exports (interrupted and resumed), erases a lead, backfills and prunes twice. Exit code 1 when anything
was found.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from app.backfilling import Backfill
from app.erasure import Request, erase_lead
from app.exporting.everything import export_everything
from app.model.client import ModelClient
from app.retention import prune
from app.slack.client import SlackClient
from db.pool import connect
from tests.story.audit import tally, violations
from tests.story.evidence import gather
from tests.story.harness import Pipeline, pipeline
from tests.story.recount import recount
from tests.story.reviewers import review
from tests.story.rows import Row, Workspace, planted, real_rows
from tests.story.test_analysts import files, make_old, marks_in_dump

FILES = ("airline", "insurance", "media", "software")
PARTS = 6
IDLE_S_MAX = 400.0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.story.all_files", description=__doc__)
    parser.add_argument("--messages", type=int, default=None, help="only so many of each file")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


async def main() -> int:
    chosen = read_arguments()
    rows = _rows(chosen.messages)
    workspaces = [
        Workspace(each, settings={"quiet_window_s": 0.5, "lead_context_bundle_enabled": number % 2 == 0})
        for number, each in enumerate(sorted({row["workspace_id"] for part in rows for row in part}))
    ]
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="all-files-") as folder:
        async with pipeline(Path(folder), chosen.workers, workspaces) as running:
            await _play(running, rows)
            found += await _look(running)
            found += await _export(running, Path(folder))
            found += await _let_go(running, rows)
    for each in found[:40]:
        say(f"FOUND {each}")
    say(f"{len(found)} violations and differences")
    return int(bool(found))


def _rows(count: int | None) -> list[list[Row]]:
    """The messages of each file; every message of all of them has a mark of its own."""
    of_files = [real_rows(name, count) for name in FILES]
    marked = iter(planted([row for rows in of_files for row in rows]))
    return [[next(marked) for _ in rows] for rows in of_files]


async def _play(running: Pipeline, files_of_rows: list[list[Row]]) -> None:
    """In parts, so that conversations go on after replies; reviewers decide in between."""
    began, decided = time.monotonic(), Counter[str]()
    for part in range(PARTS):
        for rows in files_of_rows:
            size = -(-len(rows) // PARTS)
            await running.produce(rows[part * size : (part + 1) * size])
        await running.idle(IDLE_S_MAX)
        decided += await review(running)
        await running.idle(IDLE_S_MAX)
        say(f"part {part + 1} of {PARTS}: {time.monotonic() - began:.0f} s, reviewers decided {decided.total()}")
    say(f"reviewers: {dict(decided)}")


async def _look(running: Pipeline) -> list[str]:
    evidence = await gather(running)
    for name, count in sorted(tally(evidence).items()):
        say(f"  {name:<32}{count:>8}")
    broken, different = violations(evidence), await recount(running.db, evidence)
    say(f"guarantees: {len(broken)} violations; views against a recount from the topics: {len(different)} differences")
    return [*broken, *different]


async def _export(running: Pipeline, folder: Path) -> list[str]:
    began = time.monotonic()
    await _exported(running, folder / "once", None)
    say(f"export: {len(files(folder / 'once'))} files in {time.monotonic() - began:.1f} s")
    for stop_after in (5, 30, 45):
        await _exported(running, folder / "stopped", stop_after)
    await _exported(running, folder / "stopped", None)
    same = files(folder / "stopped") == files(folder / "once")
    say(f"export interrupted three times and resumed: {'the same bytes' if same else 'DIFFERENT'}")
    return [] if same else ["an export that was interrupted differs"]


async def _exported(running: Pipeline, root: Path, stop_after: int | None) -> None:
    steps = [0]

    def step(_: str) -> None:
        steps[0] += 1
        if steps[0] == stop_after:
            raise KeyboardInterrupt

    connection = await connect(running.stack.postgres.url)
    try:
        await export_everything(running.config, connection, root, None, None, step)
    except KeyboardInterrupt:
        pass
    finally:
        await connection.close()


async def _let_go(running: Pipeline, files_of_rows: list[list[Row]]) -> list[str]:
    """Erase the lead with the most messages, replay all of theirs; backfill and prune twice; replay a whole file."""
    found: list[str] = []
    counted = Counter(row["lead_id"] for row in files_of_rows[0])
    lead, _ = counted.most_common(1)[0]
    theirs = [row for row in files_of_rows[0] if row["lead_id"] == lead]
    marks = [lead, *(row["subject"].removesuffix("subject") for row in theirs), *(row["message_id"] for row in theirs)]
    before = len(await marks_in_dump(running, *marks))
    slack = SlackClient(running.config)
    request = Request(theirs[0]["workspace_id"], lead, "operator:test", "cli", "request 1")
    began = time.monotonic()
    erased = await erase_lead(running.db, request, slack, lambda draft: f"https://example.com/drafts/{draft}")
    await slack.close()
    took_s = time.monotonic() - began
    left = await marks_in_dump(running, *marks)
    await running.produce(theirs)
    await running.idle(IDLE_S_MAX)
    after = await marks_in_dump(running, *marks)
    say(
        f"erase-lead: {erased.messages} messages, {erased.runs} runs, {erased.slack_messages} Slack messages in {took_s:.1f} s"
    )
    say(
        f"  lines of a dump that hold something of them: {before} before, {len(left)} after, {len(after)} after a replay"
    )
    found += [f"a dump holds {line!r}" for line in [*left, *after]]
    for name, results in (("first", await _backfill(running)), ("second", await _backfill(running))):
        say(f"backfill, {name}: {dict(results)}")
        found += [f"backfill did {code}" for code in results if name == "second" and code.startswith("done:")]
    await make_old(running)
    seen = await _outside(running)
    first, second = await prune(running.db, 30, rows_per_s=1e9), await prune(running.db, 30)
    say(f"prune, first: {first.rows} rows in {first.seconds:.1f} s; second: {second.rows} rows")
    found += ["a second prune deleted something"] if second.rows else []
    await running.produce([row for rows in files_of_rows for row in rows])
    await running.idle(IDLE_S_MAX)
    replayed = await _outside(running)
    say(f"replay of all files after the prune: model, webhook, mail saw {seen} before, {replayed} after")
    return found + (["a replay after prune did something outside"] if replayed != seen else [])


async def _backfill(running: Pipeline) -> Counter[str]:
    model = ModelClient(running.config)
    try:
        return await Backfill(running.db, model, io.StringIO(), "operator:test").run(None, None)
    finally:
        await model.close()


async def _outside(running: Pipeline) -> tuple[Any, ...]:
    stack = running.stack
    return len(stack.model.ledger()), len(stack.webhook.ledger()), len(stack.mail.ledger())


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
