"""`schema`: the published contract of an event."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.shell import OK, EnvFile, WrongUse, emit

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline schema inbound-message", rich_help_panel="Look")
def schema(
    event: Annotated[str | None, typer.Argument(metavar="EVENT", help="A topic's name; none lists them.")] = None,
    env_file: EnvFile = None,
) -> None:
    """JSON Schema (2020-12) of the event on a topic."""
    from schemas.events import EVENTS, PUBLIC_EVENTS, json_schema

    if event is None:
        for name in EVENTS:
            print(f"{name}  {'public' if name in PUBLIC_EVENTS else 'internal'}")
        raise typer.Exit(OK)
    if event not in EVENTS:
        raise WrongUse(f"no event is called {event}; they are {', '.join(EVENTS)}")
    emit(json_schema(event))
