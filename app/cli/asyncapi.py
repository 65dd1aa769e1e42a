"""`asyncapi`: the contract of the topics as one document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.shell import EnvFile, WrongUse, emit, say

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline asyncapi --output asyncapi.json", rich_help_panel="Look")
def asyncapi(
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")] = None,
    env_file: EnvFile = None,
) -> None:
    """AsyncAPI 3.0 document (JSON) of the public topics and the dead letters: headers, keys, payloads, examples."""
    from app.contract.asyncapi import document
    from app.contract.files import written

    if output is None:
        emit(document())
        return
    try:
        output.write_text(written(document()), "utf-8")
    except OSError as error:
        raise WrongUse(f"{output}: {error.strerror}") from None
    say(f"wrote {output}")
