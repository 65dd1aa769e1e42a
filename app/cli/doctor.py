"""`doctor`: is everything there, and what to do if not."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, emit, run

if TYPE_CHECKING:
    from app.cli.checks import Check
    from app.config import Config

group = typer.Typer()

_NAME_COLUMNS: Final = 17


@group.command(epilog="Example: draft-pipeline doctor --env-file local.env", rich_help_panel="Look")
def doctor(env_file: EnvFile = None, as_json: AsJson = False) -> None:
    """Check environment, Postgres and its schema, Kafka and its topics, model server, mail and Slack."""

    async def work(config: Config) -> int:
        from app.cli.checks import State, check_all

        checks = []
        async for check in check_all(config):
            checks.append(check)
            if not as_json:
                tell(check)
        problems = sum(check.state is State.PROBLEM for check in checks)
        if as_json:
            emit({"ok": not problems, "checks": [asdict(check) for check in checks]})
        else:
            print("\nall is well" if not problems else f"\n{problems} problem(s)")
        return PROBLEM if problems else OK

    run(env_file, "nothing", work)


def tell(check: Check) -> None:
    print(f"{check.state:<8} {check.name:<{_NAME_COLUMNS}} {check.found}", flush=True)
    if check.remedy:
        print(f"{'':8} {'':<{_NAME_COLUMNS}} -> {check.remedy}", flush=True)
