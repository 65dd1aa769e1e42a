"""`worker` and `up`: the processes that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.shell import EnvFile

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline worker --env-file local.env", rich_help_panel="Run")
def worker(env_file: EnvFile = None) -> None:
    """Consume all topics until SIGTERM; prints one line when it is consuming."""
    import uvloop

    from app.config import NEEDS, load_config
    from app.logging import configure_logging
    from app.worker import run_worker

    config = load_config(env_file, NEEDS["worker"])
    configure_logging(config.log_level)
    raise typer.Exit(uvloop.run(run_worker(config)))


@group.command(epilog="Example: draft-pipeline up --dir .local --env-file local.env", rich_help_panel="Run")
def up(
    directory: Annotated[Path, typer.Option("--dir", help="Everything it keeps lies here.")] = Path(".local"),
    env_file: Annotated[Path | None, typer.Option("--env-file", help="Where to write the addresses. [DIR/env]")] = None,
    without: Annotated[str, typer.Option(help="Leave out: kafka, postgres, model, mail, webhook, slack.")] = "",
) -> None:
    """Start broker, database, scripted model, mailbox, webhook receiver and Slack stand-in; stay until SIGTERM."""
    import asyncio

    from app.stack.up import run_up

    parts = {part.strip() for part in without.split(",") if part.strip()}
    raise typer.Exit(asyncio.run(run_up(directory, env_file or directory / "env", parts)))
