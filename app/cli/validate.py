"""`validate`: a file of messages against the contract, before anything is sent."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, WrongUse, emit, progress

if TYPE_CHECKING:
    from app.contract.checking import Finding

group = typer.Typer()

_FINDINGS_SHOWN_MAX: Final = 1_000


@group.command(epilog="Example: draft-pipeline validate messages.jsonl", rich_help_panel="Look")
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, one JSON object or a list; - reads stdin.")],
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Check every message of a file against the contract of inbound-message: line, field and what to do.

    Needs no broker and no database. Exit code 1 when something is wrong. Whether a workspace exists is not asked.
    """
    from app.contract.checking import findings_of, records_of

    records = records_of(_content(file))
    if not records:
        raise WrongUse(f"{file}: holds no message")
    findings: list[Finding] = []
    mistakes = wrong = 0
    with progress(len(records), "checking") as advance:
        for number, record in records:
            found = list(findings_of(number, record))
            findings += found[: _FINDINGS_SHOWN_MAX - len(findings)]
            mistakes += len(found)
            wrong += bool(found)
            advance()
    if as_json:
        emit(
            {
                "messages": len(records),
                "wrong": wrong,
                "mistakes": mistakes,
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        for finding in findings:
            print(f"line {finding.line}: {finding.field}: {finding.code}: {finding.remedy}")
        if mistakes > len(findings):
            print(f"... and {mistakes - len(findings)} more mistakes")
        print(
            f"{wrong} of {len(records)} messages break the contract" if wrong else f"{len(records)} messages, all good"
        )
    raise typer.Exit(PROBLEM if wrong else OK)


def _content(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise WrongUse(f"{file}: {error.strerror}; FILE is JSON Lines or one JSON") from None
