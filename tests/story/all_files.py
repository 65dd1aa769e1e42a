"""`python -m tests.story.all_files`: all shared files through everything, with simulated reviewers, then recounted.

Takes minutes. Prints what was finished, and every violation of a guarantee and every difference between a view and its
recount; then exports (interrupted and resumed), erases a lead, backfills and prunes twice. Exit code 1 when anything
was found.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from app.backfilling import Backfill
from app.erasure import Request, erase_lead
from app.history import import_file
from app.model.client import ModelClient
from app.retention import prune
from app.slack.client import SlackClient
from tests.story.analysing import files, make_old, marks_in_dump, outside, run_export
from tests.story.audit import tally, violations
from tests.story.drawn import page_against_topics
from tests.story.evidence import gather
from tests.story.harness import Pipeline, pipeline
from tests.story.recount import recount
from tests.story.reviewers import review
from tests.story.rows import Row, Workspace, planted, real_rows

FILES = ("airline", "insurance", "media", "software")
PARTS = 6
IDLE_S_MAX = 400.0
HISTORY_DRAFTS = 40


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
            found += await _let_go(running, Path(folder), rows)
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
    undrawn = await page_against_topics(running, evidence)
    say(
        f"guarantees: {len(broken)} violations; against a recount from the topics: {len(different)} differences in views,"
        f" {len(undrawn)} on the quality page"
    )
    return [*broken, *different, *undrawn]


async def _export(running: Pipeline, folder: Path) -> list[str]:
    began = time.monotonic()
    await run_export(running, folder / "once")
    say(f"export: {len(files(folder / 'once'))} files in {time.monotonic() - began:.1f} s")
    for stop_after in (5, 30, 45):
        await run_export(running, folder / "stopped", stop_after)
    await run_export(running, folder / "stopped")
    same = files(folder / "stopped") == files(folder / "once")
    say(f"export interrupted three times and resumed: {'the same bytes' if same else 'DIFFERENT'}")
    return [] if same else ["an export that was interrupted differs"]


async def _let_go(running: Pipeline, folder: Path, files_of_rows: list[list[Row]]) -> list[str]:
    """Erase a lead, backfill and prune twice, then replay every file."""
    found = await _erase(running, files_of_rows[0])
    await import_file(running.db, _history(folder / "history.jsonl", files_of_rows[0]))
    for name, results in (("first", await _backfill(running)), ("second", await _backfill(running))):
        done = [code for code in results if code.startswith("done:")]
        say(f"backfill, {name}: {dict(results)}")
        found += ["a first backfill did nothing"] if name == "first" and not done else []
        found += [f"backfill did {code} again" for code in done if name == "second"]
    await make_old(running)
    seen = await outside(running)
    first, second = await prune(running.db, 30, rows_per_s=1e9), await prune(running.db, 30)
    say(f"prune, first: {first.rows} rows in {first.seconds:.1f} s; second: {second.rows} rows")
    found += ["a second prune deleted something"] if second.rows or not first.rows else []
    await running.produce([row for rows in files_of_rows for row in rows])
    await running.idle(IDLE_S_MAX)
    replayed = await outside(running)
    say(f"replay of all files after the prune: model, webhook, mail saw {seen} before, {replayed} after")
    return found + (["a replay after prune did something outside"] if replayed != seen else [])


async def _erase(running: Pipeline, rows: list[Row]) -> list[str]:
    """The lead with the most messages of those whom Slack was asked about; then all of theirs comes again."""
    asked = await running.db.fetch(
        "SELECT d.lead_id FROM review_request q JOIN ai_draft d ON d.id = q.draft_id"
        " WHERE q.slack_ts IS NOT NULL AND d.workspace_id = $1", rows[0]["workspace_id"],
    )  # fmt: skip
    leads = {row["lead_id"] for row in asked}
    [(lead, _)] = Counter(row["lead_id"] for row in rows if row["lead_id"] in leads).most_common(1)
    theirs = [row for row in rows if row["lead_id"] == lead]
    marks = [lead, *(row["subject"].removesuffix("subject") for row in theirs), *(row["message_id"] for row in theirs)]
    before, began = len(await marks_in_dump(running, *marks)), time.monotonic()
    slack = SlackClient(running.config)
    request = Request(theirs[0]["workspace_id"], lead, "operator:test", "cli", "request 1")
    erased = await erase_lead(running.db, request, slack, lambda draft: f"https://example.com/drafts/{draft}")
    await slack.close()
    took_s = time.monotonic() - began
    left = await marks_in_dump(running, *marks)
    await running.produce(theirs)
    await running.idle(IDLE_S_MAX)
    after = await marks_in_dump(running, *marks)
    say(
        f"erase-lead: {erased.messages} messages, {erased.runs} runs, {erased.slack_messages} Slack messages, {took_s:.1f} s"
    )
    say(f"  lines of a dump with something of them: {before} before, {len(left)} after, {len(after)} after a replay")
    nothing = ["nothing of a lead was there to erase"] if not before or not erased.slack_messages else []
    return [*nothing, *(f"a dump holds {line!r}" for line in [*left, *after])]


def _history(path: Path, rows: list[Row]) -> Path:
    """Messages of a file as another system had them, with drafts that wait and without a decision."""
    lines = []
    for number, row in enumerate(rows[:HISTORY_DRAFTS]):
        ids = {"workspace_id": row["workspace_id"], "message_id": f"old-{number}"}
        received = {
            "received_at": row["received_at"],
            "body": row["body"],
            "lead_id": f"old-{number}",
            "channel": "chat",
        }
        draft = {"content": "Thank you, we will look into it.", "mode": "AI_AUTO_SEND", "status": "pending"}
        ids_of_draft = {"workspace_id": row["workspace_id"], "trigger_message_id": f"old-{number}"}
        lines.append({"kind": "message", **ids, **received})
        lines.append({"kind": "draft", **ids_of_draft, **draft, "created_at": row["received_at"]})
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


async def _backfill(running: Pipeline) -> Counter[str]:
    model = ModelClient(running.config)
    try:
        return await Backfill(running.db, model, io.StringIO(), "operator:test").run(None, None)
    finally:
        await model.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
