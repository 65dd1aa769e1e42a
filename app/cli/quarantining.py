"""`restore-quarantine`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.shell import OK, AsJson, EnvFile, Problem, WrongUse, actor, emit, pool_to, run

if TYPE_CHECKING:
    from app.config import Config
    from db.pool import Pool

group = typer.Typer()


@group.command(
    "restore-quarantine", epilog='Example: draft-pipeline restore-quarantine --reason "restored to 14:00 UTC"'
)
def restore_quarantine(
    reason: Annotated[str, typer.Option("--reason", help="What happened; kept in the audit.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what there is, change nothing.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """After a restore or a failover that lost commits, before workers start: put every unsent delivery to review.

    Automatic sends for messages received until now become reviews, whenever they are decided. Records that ingest had
    read and the database no longer has are read again, and unfinished work is published again.
    """
    if not dry_run and not reason.strip():
        raise WrongUse("--reason is empty: say what happened, it is kept in the audit")

    async def work(config: Config) -> int:
        from app.kafka.lagging import watermarks_of
        from app.kafka.rewinding import rewind_ingest

        async with pool_to(config.database_url) as pool:
            await _nobody_works(pool)
            rewound = await rewind_ingest(config, await watermarks_of(pool), dry_run=dry_run)
            done = await _done(pool, reason, dry_run=dry_run)
        told = {"dry_run": dry_run, **done, "rewound": [asdict(each) for each in rewound]}
        if as_json:
            emit(told)
            return OK
        for name, value in done.items():
            print(f"{name.replace('_', ' ')}: {value}")
        for each in rewound:
            print(f"inbound-message partition {each.partition}: read again from {each.to} ({each.committed - each.to})")
        print("nothing was changed" if dry_run else "workers may be started")
        return OK

    run(env_file, "web", work)


async def _nobody_works(pool: Pool) -> None:
    from db import sql

    workers = [row["process_id"] for row in await sql.ops.living_processes.rows(pool) if row["role"] == "worker"]
    if workers:
        raise Problem(f"{len(workers)} workers run: stop them first (SIGTERM); nothing was changed")


async def _done(pool: Pool, reason: str, *, dry_run: bool) -> dict[str, Any]:
    from agents.quarantine import quarantine
    from db import sql

    before = dict(await sql.quarantine.unfinished.one(pool))
    if dry_run:
        return before
    done = await quarantine(pool, actor=actor(), reason=reason)
    return before | {
        "put_to_review": done.reviews,
        "events_published_again": done.events,
        "people_decide_on_messages_received_until": done.until,
    }
