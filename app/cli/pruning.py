"""`prune`: retention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, emit, pool_to, run, say

if TYPE_CHECKING:
    from app.config import Config
    from app.retention import Pruned

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline prune --env-file local.env", rich_help_panel="Keep house")
def prune(
    days: Annotated[
        int | None, typer.Option(min=1, help="Keep so many days. [DRAFT_PIPELINE_RUN_RETENTION_DAYS]")
    ] = None,
    rows_per_s: Annotated[float, typer.Option("--rows-per-s", min=1, help="At most so fast.")] = 6_000.0,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop after so long; call it again for the rest.")
    ] = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Delete ended runs with artifacts and context, and published outbox rows, that are older than the retention.

    Drafts, claims, deliveries, messages, decisions and statistics stay: replaying a topic makes no call and no send.
    May be stopped and called again at any time, beside working workers.
    """

    async def work(config: Config) -> int:
        from app.retention import prune as delete_old

        kept = days or config.draft_pipeline_run_retention_days
        async with pool_to(config.database_url) as pool:
            pruned = await delete_old(pool, kept, rows_per_s=rows_per_s, seconds_max=seconds, say=_progress())
        if as_json:
            emit({"days": kept, **asdict(pruned), "rows": pruned.rows})
        else:
            print(_summary(pruned, kept))
        return OK if pruned.complete else PROBLEM

    run(env_file, "database", work)


def _progress() -> Callable[[Pruned], None]:
    """A line on stderr whenever ten thousand more rows have gone."""
    told = [0]

    def say_so(pruned: Pruned) -> None:
        if pruned.rows // 10_000 > told[0]:
            told[0] = pruned.rows // 10_000
            say(f"prune: {pruned.rows} rows")

    return say_so


def _summary(pruned: Pruned, days: int) -> str:
    pace = pruned.rows / pruned.seconds if pruned.seconds else 0.0
    told = (
        f"deleted what ended more than {days} days ago: {pruned.runs} runs, {pruned.artifacts} artifacts,"
        f" {pruned.contexts} contexts, {pruned.outbox_rows} outbox rows, {pruned.processes} dead processes"
        f" in {pruned.seconds:.1f} s ({pace:.0f} rows/s)"
    )
    return told if pruned.complete else f"{told}; not all was seen: call it again"
