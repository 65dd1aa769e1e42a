"""`calibrate`: what confidences were worth, from what reviewers did. Nothing is changed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.shell import OK, AsJson, EnvFile, connection_to, emit, run, show_table

if TYPE_CHECKING:
    from agents.calibration import Calibration
    from app.config import Config

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline calibrate --workspace ws-1 --precision 0.95", rich_help_panel="Judge")
def calibrate(
    precision: Annotated[
        float,
        typer.Option(min=0.5, max=0.999, help="Share of sent drafts that a reviewer must have sent as they were."),
    ] = 0.95,
    workspace: Annotated[str | None, typer.Option("--workspace", metavar="ID", help="Only this one.")] = None,
    since: Annotated[str, typer.Option(help="How far back: 24h, 30d, or a date.")] = "90d",
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Reliability of confidences by bin, and the threshold that a wanted precision asks for. Read only.

    Counted are drafts that people decided on: sent as they were is good; edited or rejected is not. Those that were
    sent by themselves nobody looked at: for a sample without that gap, run a campaign in DRAFT_ONLY for a while.
    """
    from app.cli.since import moment_of

    begin = moment_of(since)

    async def work(config: Config) -> int:
        from agents.calibration import Reviewed
        from agents.calibration import calibrate as reckon
        from db import sql

        async with connection_to(config.database_url) as connection, connection.transaction(readonly=True):
            rows = await sql.ops.drafts_reviewed.rows(connection, workspace_id=workspace, since=begin)
        found = reckon([Reviewed(row["confidence"], row["good"]) for row in rows], precision)
        if as_json:
            emit({**asdict(found), "enough_data": found.count >= found.needed})
        else:
            _tell(found)
        return OK

    run(env_file, "database", work)


def _tell(found: Calibration) -> None:
    def shown(value: float | None) -> Any:
        return None if value is None else f"{value:.3f}"

    heads = ("confidence", "drafts#", "sent as they were#", "mean confidence#", "share good#", "at least (95 %)#")
    rows = [
        (f"{each.low:.2f} to {each.high:.2f}", each.count, each.good, shown(each.mean), shown(each.share),
         shown(each.share_min) if each.count else None)
        for each in found.bins
    ]  # fmt: skip
    show_table(heads, rows)
    print()
    if found.gap is not None:
        print(f"{found.count} reviewed drafts; confidence and share are {found.gap:.3f} apart on average")
    if found.threshold is not None:
        print(
            f"threshold {found.threshold:.2f}: at or above it at least {found.precision:.1%} is good,"
            " with 95 % certainty"
        )
        print(f"try it first: draft-pipeline replay --threshold {found.threshold:.2f}")
    elif found.count < found.needed:
        print(f"too little data: {found.precision:.1%} takes at least {found.needed} reviewed drafts, all of them good")
    else:
        print(f"no threshold of these shows {found.precision:.1%} with 95 % certainty")
