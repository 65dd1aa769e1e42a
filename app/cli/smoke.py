"""`smoke`: does the running system do its work, from end to end?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, connection_to, emit, run

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline smoke --full --log worker.log", rich_help_panel="Look")
def smoke(
    full: Annotated[
        bool, typer.Option("--full", help="Also pricing, scheduling, a failing overseer, and a scan for texts.")
    ] = False,
    log: Annotated[list[Path] | None, typer.Option("--log", metavar="FILE", help="With --full: scan this log.")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metrics", metavar="URL", help="With --full: scan what is told here.")
    ] = None,
    stack: Annotated[
        Path | None,
        typer.Option("--stack", metavar="DIR", help="With --full: the folder of `up`, to break the overseer."),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for each message.")] = 120.0,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Send messages of our own through the running system; workspace ws-smoke delivers them to nobody."""

    async def work(config: Config) -> int:
        from app.cli.checks import State
        from app.cli.doctor import tell
        from app.cli.smoking import Smoke
        from app.kafka.lagging import group_reader

        config.require(frozenset({"DATABASE_URL"}))
        checks = []
        async with connection_to(config.database_url) as connection, group_reader(config) as reader:
            async for check in Smoke(config, connection, reader, timeout).run(
                full=full, stack=stack, logs=log or [], metrics=metrics or []
            ):
                checks.append(check)
                if not as_json:
                    tell(check)
        problems = sum(check.state is State.PROBLEM for check in checks)
        if as_json:
            emit({"ok": not problems, "checks": [asdict(check) for check in checks]})
        else:
            print(f"\n{problems} problem(s)" if problems else "\nsmoke: all is well")
        return PROBLEM if problems else OK

    run(env_file, "kafka", work)
