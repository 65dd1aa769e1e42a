"""`runs list`, `show` and `retry`."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import (
    OK,
    AsJson,
    EnvFile,
    Problem,
    WrongUse,
    connection_to,
    emit,
    run,
    show_fields,
    show_table,
    stamp,
)
from schemas.codes import DraftFate

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer(name="runs", help="What was done for each message.", no_args_is_help=True)


class Status(StrEnum):
    """As `draft_pipeline_run.status`."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"


@group.command("list", epilog="Example: draft-pipeline runs list --filter ai_review --workspace ws-1")
def list_(
    workspace: Annotated[str | None, typer.Option("--workspace", metavar="ID", help="Only runs of this one.")] = None,
    status: Annotated[Status | None, typer.Option(case_sensitive=False, help="Only runs that stand so.")] = None,
    fate: Annotated[DraftFate | None, typer.Option("--filter", help="Only runs whose draft has this fate.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Runs at most, newest first.")] = 30,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Runs, newest first, how many there are of each status, and how many drafts of each fate."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            rows = await sql.ops.runs_recent.rows(
                connection, workspace_id=workspace, status=status, limit=limit, fate=fate
            )
            counts = await sql.ops.run_counts.rows(connection, workspace_id=workspace)
            fates = dict(await sql.ops.fate_counts.one(connection, workspace_id=workspace, since=None))
        if as_json:
            by_status = {row["status"]: row["runs"] for row in counts}
            emit({"runs": [dict(row) for row in rows], "counts": by_status, "drafts": fates})
            return OK
        columns = ("id", "workspace_id", "status", "phase", "reason", "attempt", "action", "confidence")
        table = [[*(row[column] for column in columns), stamp(row["created_at"])] for row in rows]
        heads = ("run", "workspace", "status", "phase", "reason", "attempt#", "action", "confidence#", "created")
        show_table(heads, table)
        print(", ".join(f"{row['status']} {row['runs']}" for row in counts) or "no runs yet")
        print("drafts: " + ", ".join(f"{name} {count}" for name, count in fates.items()))
        return OK

    run(env_file, "database", work)


@group.command(epilog="Example: draft-pipeline runs show 0191d7c2-...")
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """One run with its artifacts and model calls; never a text."""
    identity = uuid_of(run_id, "run")

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            row = await sql.ops.run_by_id.row(connection, run_id=identity)
            calls = await sql.model_call.calls_of_run.rows(connection, run_id=identity)
        if row is None:
            raise Problem(f"run {run_id} is unknown; `draft-pipeline runs list` shows the newest")
        if as_json:
            emit({**dict(row), "calls": [dict(call) for call in calls]})
            return OK
        show_fields(dict(row))
        print()
        columns = ("stage", "iteration", "attempt", "status", "failure", "model", "effort", "input_tokens")
        more = ("output_tokens", "latency_ms", "cost_usd")
        heads = ("stage", "iteration#", "attempt#", "status", "failure", "model", "effort", "tokens in#", "out#", "ms#")
        show_table((*heads, "USD#"), [[call[column] for column in (*columns, *more)] for call in calls])
        print(f"\nwhy: draft-pipeline explain {row['draft_id']}")
        return OK

    run(env_file, "database", work)


@group.command(epilog="Example: draft-pipeline runs retry 0191d7c2-...")
def retry(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    reason: Annotated[str, typer.Option("--reason", help="Kept in the audit.")] = "runs retry",
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Try a FAILED run again: a new attempt on the same draft and claims, with what was already answered."""
    identity = uuid_of(run_id, "run")

    async def work(config: Config) -> int:
        from app.cli.retrying import retry_run
        from app.cli.shell import actor

        async with connection_to(config.database_url) as connection, connection.transaction():
            attempt, new = await retry_run(connection, identity, actor=actor(), reason=reason)
        if as_json:
            emit({"retry_of": run_id, "attempt": attempt, "run_id": new})
        else:
            print(f"attempt {attempt} will be run {new} as soon as a worker admits it")
        return OK

    run(env_file, "database", work)


def uuid_of(text: str, what: str) -> uuid.UUID:
    """The id in `text`. Raises WrongUse when it is none."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise WrongUse(f"{text!r} is no {what} id; it looks like {uuid.UUID(int=0)}") from None
