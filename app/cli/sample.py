"""`sample`: drafts for a person to judge."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import OK, AsJson, EnvFile, connection_to, emit, on_screen, run, say

if TYPE_CHECKING:
    import asyncpg

    from app.config import Config

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline sample --revised 20 --workspace ws-1", rich_help_panel="Analyse")
def sample(
    revised: Annotated[int, typer.Option("--revised", min=1, metavar="N", help="So many revised drafts.")],
    workspace: Annotated[str | None, typer.Option("--workspace", metavar="ID", help="Only drafts of this one.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="Drafts begun since, UTC.")
    ] = None,
    applied: Annotated[
        bool | None, typer.Option("--applied/--not-applied", help="Only those whose revision won, or lost.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draws the same drafts again.")] = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Draw revised drafts by chance and show message, first text and revised text, for a person to judge.

    It prints texts of leads: for people who may read them, not for a file that stays.
    """
    chosen = random.randrange(10**6) if seed is None else seed  # noqa: S311 - a draw that can be repeated

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            rows = await sql.analytics.revised_drafts.rows(
                connection,
                workspace_id=workspace,
                since=since.replace(tzinfo=UTC) if since else None,
                applied=applied,
                seed=str(chosen),
                limit=revised,
            )
        if as_json:
            emit({"seed": chosen, "drafts": [dict(row) for row in rows]})
            return OK
        for number, row in enumerate(rows, 1):
            _show(number, len(rows), row)
        say(f"{len(rows)} of {revised} drafts, seed {chosen}" if rows else "no draft was revised")
        return OK

    run(env_file, "database", work)


def _show(number: int, total: int, row: asyncpg.Record) -> None:
    """One draft, with what is needed to judge it."""
    kept = "revision applied" if row["applied"] else "first text kept"
    print(f"=== {number} of {total} · {row['draft_id']} · {row['workspace_id']} · {row['outcome']}, {kept}")
    print(f"--- message\n{on_screen(row['message'])}")
    print(f"--- first text, confidence {_number(row['confidence_before'])}\n{on_screen(row['before'])}")
    print(f"--- revised text, confidence {_number(row['confidence_after'])}, {_number(row['threshold'])} needed")
    print(f"{on_screen(row['after'] or '(deleted by retention)')}\n")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
