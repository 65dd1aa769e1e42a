"""`suppression`: who gets nothing any more, and taking an opt-out back when the lead asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.shell import OK, AsJson, EnvFile, Problem, WrongUse, actor, connection_to, emit, run, show_table, stamp

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer(name="suppression", help="Leads that opted out: nothing is sent to them.", no_args_is_help=True)

VIA: Final = "cli"

Workspace = Annotated[str, typer.Option("--workspace", metavar="ID", help="Whose lead it is.")]


@group.command("list", epilog="Example: draft-pipeline suppression list --workspace ws-1 --json")
def list_(workspace: Workspace, env_file: EnvFile = None, as_json: AsJson = False) -> None:
    """Who is on the list, since when and why; newest first."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            rows = await sql.admin.suppressions.rows(connection, workspace_id=workspace)
        if as_json:
            emit([dict(row) for row in rows])
        else:
            show_table(("lead", "why", "since"), [(r["lead_id"], r["reason"], stamp(r["created_at"])) for r in rows])
        return OK

    run(env_file, "database", work)


@group.command(epilog='Example: draft-pipeline suppression lift lead-7 --workspace ws-1 --reason "asked for it, 4711"')
def lift(
    lead: Annotated[str, typer.Argument(metavar="LEAD", help="The lead's id, as on the topics.")],
    workspace: Workspace,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit, so it must not name the lead.")] = "",
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a lead off the list: messages that come from now on are answered again. Audited; the owner's address."""
    if not reason.strip():
        raise WrongUse("--reason is empty: say why, it is kept in the audit")

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection, connection.transaction():
            row = await sql.admin.lift_suppression.row(connection, workspace_id=workspace, lead_id=lead)
            if row is None:
                raise Problem(f"no such lead is suppressed in {workspace}; `draft-pipeline suppression list` shows all")
            await sql.admin.add_audit.value(
                connection,
                actor=actor(),
                via=VIA,
                action="suppression-lift",
                workspace_id=workspace,
                subject=f"lead:{row['erased_id']}",
                before=row["reason"],
                after=None,
                reason=reason,
            )
        if as_json:
            emit({"lead_id": lead, "workspace_id": workspace, "was": row["reason"]})
        else:
            print(f"lifted: it was there because of {row['reason']}, since {stamp(row['created_at'])}")
        return OK

    run(env_file, "database", work)
