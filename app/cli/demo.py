"""`demo`: a local stack, two workers and one morning's mail through everything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

group = typer.Typer()

_INTERRUPTED: Final = 130


@group.command(epilog="Example: draft-pipeline demo --keep --dir .demo", rich_help_panel="Run")
def demo(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep everything in this folder. [default: a temporary one]")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Stay until Ctrl-C, to look around.")] = False,
) -> None:
    """Start everything on this machine, send some 60 messages through it, show what becomes of them, stop it all.

    Nothing leaves this machine, and no process stays behind.
    """
    import asyncio
    import tempfile

    from app.cli.demonstrating import demonstrate

    try:
        if directory is not None:
            raise typer.Exit(asyncio.run(demonstrate(directory, keep)))
        with tempfile.TemporaryDirectory(prefix="draft-pipeline-demo-") as folder:
            raise typer.Exit(asyncio.run(demonstrate(Path(folder), keep)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(_INTERRUPTED) from None
