"""`backfill`: decisions for drafts that were imported, or recorded before a field existed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, WrongUse, emit, pool_to, run, say, show_table

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline backfill --dry-run --workspace ws-1", rich_help_panel="Keep house")
def backfill(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; ask no model, write nothing.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it.")] = False,
    workspace: Annotated[str | None, typer.Option("--workspace", metavar="ID", help="Only drafts of this one.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Drafts at most.")] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="One line a draft. [backfill-TIME.jsonl]")
    ] = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Give old drafts the decision they lack; never send, never change a recorded decision.

    A draft that was sent gets its action. A pending one of mode AI_AUTO_SEND is judged: a person is asked when it is
    unsafe or below the threshold. May be stopped and called again. Exit code 1 when there were errors.
    """
    if dry_run == apply:
        raise WrongUse("choose one of --dry-run and --apply")
    path = log or Path(f"backfill-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{'-dry-run' if dry_run else ''}.jsonl")

    async def work(config: Config) -> int:
        results = await _run(config, path, workspace, limit, apply=apply)
        errors = {code: count for code, count in results.items() if code.startswith("error:")}
        if as_json:
            emit(
                {"applied": apply, "drafts": results.total(), "results": dict(results.most_common()), "log": str(path)}
            )
        else:
            _show(results)
            print(f"log: {path}")
        return PROBLEM if errors else OK

    run(env_file, "database", work)


async def _run(config: Config, path: Path, workspace: str | None, limit: int | None, *, apply: bool) -> Counter[str]:
    from app.backfilling import CALLS_AT_ONCE, Backfill
    from app.cli.shell import actor
    from app.model.client import ModelClient

    model = ModelClient(config) if apply else None
    try:
        async with pool_to(config.database_url, CALLS_AT_ONCE + 2) as pool:
            with path.open("a") as log:
                backfill = Backfill(pool, model, log, actor())
                return await backfill.run(workspace, limit, lambda seen: say(f"backfill: {seen} drafts"))
    finally:
        if model is not None:
            await model.close()


def _show(results: Counter[str]) -> None:
    """What was done, then the expected gates, then the errors; the most frequent first."""
    for title, prefixes in (("done", ("done:", "would:")), ("skipped", ("skip:",)), ("errors", ("error:",))):
        rows = [(code, count) for code, count in results.most_common() if code.startswith(prefixes)]
        if rows:
            show_table((title, "drafts#"), rows)
            print()
    print(f"{results.total()} drafts without a decision")
