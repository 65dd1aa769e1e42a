"""`policy list`, `show`, `apply` and `rollback`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.shell import (
    OK,
    AsJson,
    EnvFile,
    Problem,
    WrongUse,
    actor,
    connection_to,
    emit,
    run,
    show_fields,
    show_table,
    stamp,
)

if TYPE_CHECKING:
    from app.cli.policies import Proposal, Scope
    from app.config import Config

group = typer.Typer(name="policy", help="Thresholds and rules, numbered as revisions.", no_args_is_help=True)

Workspace = Annotated[str | None, typer.Option("--workspace", metavar="ID", help="None: the global policy.")]
Campaign = Annotated[str | None, typer.Option("--campaign", metavar="ID", help="One campaign of the workspace.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; required, kept in the audit.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")]
Threshold = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="The confidence that is sent without a person.")
]
BookingThreshold = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="With the booking gate: what books a meeting by itself.")
]


@group.command("list", epilog="Example: draft-pipeline policy list --workspace ws-1")
def list_(
    workspace: Workspace = None,
    limit: Annotated[int, typer.Option(min=1, help="Revisions at most.")] = 30,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Revisions, newest first; those in force are marked."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            rows = await sql.admin.policy_list.rows(connection, workspace_id=workspace, limit=limit)
        if as_json:
            emit([dict(row) for row in rows])
            return OK
        table = [
            (
                row["revision"],
                "in force" if row["in_force"] else "",
                " ".join(part for part in (row["scope"], row["workspace_id"], row["campaign_id"]) if part),
                row["auto_send_threshold"],
                row["booking_threshold"],
                stamp(row["created_at"]),
                row["created_by"],
                row["reason"],
            )
            for row in rows
        ]
        show_table(("revision#", "", "scope", "send from#", "book from#", "since", "by", "reason"), table)
        return OK

    run(env_file, "database", work)


@group.command(epilog="Example: draft-pipeline policy show --workspace ws-1")
def show(
    revision: Annotated[int | None, typer.Argument(help="A revision; none shows the one in force.")] = None,
    workspace: Workspace = None,
    campaign: Campaign = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """One revision, or the policy in force for a workspace or campaign."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            if revision is not None:
                row = await sql.admin.policy_by_revision.row(connection, revision=revision)
            else:
                await _known(connection, _scope(workspace, campaign))
                row = await sql.admin.policy_in_force.row(connection, workspace_id=workspace, campaign_id=campaign)
        if row is None:
            raise Problem(f"policy revision {revision} is unknown; `draft-pipeline policy list` shows all")
        if as_json:
            emit(dict(row))
        else:
            show_fields({**dict(row), "created_at": stamp(row["created_at"]), "rules": json.dumps(row["rules"])})
        return OK

    run(env_file, "database", work)


async def _known(connection: Any, scope: Scope) -> None:
    from app.cli.policies import propose

    await propose(connection, scope, {})


@group.command(
    epilog='Example: draft-pipeline policy apply --workspace ws-1 --threshold 0.92 --reason "too many edits"'
)
def apply(
    reason: Reason,
    workspace: Workspace = None,
    campaign: Campaign = None,
    threshold: Threshold = None,
    booking_threshold: BookingThreshold = None,
    rules: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON: settings that the policy decides.")] = None,
    dry_run: DryRun = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """A new revision for everybody, a workspace or a campaign; what is not given is taken from the one in force."""
    scope = _scope(workspace, campaign)
    given = {"auto_send_threshold": threshold, "booking_threshold": booking_threshold, "rules": _rules(rules)}
    wanted = {name: value for name, value in given.items() if value is not None}
    if not wanted:
        raise WrongUse("nothing to apply: give --threshold, --booking-threshold or --rules")
    _write(scope, wanted, reason, dry_run, env_file, as_json)


@group.command(epilog='Example: draft-pipeline policy rollback 12 --reason "0.92 asked too often"')
def rollback(
    revision: Annotated[int, typer.Argument(help="The revision whose values come back, in its own scope.")],
    reason: Reason,
    dry_run: DryRun = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """A new revision with the values of an earlier one."""
    _write(None, {}, reason, dry_run, env_file, as_json, rolled_back_to=revision)


def _write(
    scope: Scope | None,
    wanted: dict[str, Any],
    reason: str,
    dry_run: bool,
    env_file: EnvFile,
    as_json: bool,
    rolled_back_to: int | None = None,
) -> None:
    if not reason.strip():
        raise WrongUse("--reason is empty: say why, it is kept in the audit")

    async def work(config: Config) -> int:
        from app.cli.policies import add_revision, propose
        from db import sql

        async with connection_to(config.database_url) as connection, connection.transaction():
            await sql.admin.lock_policies.value(connection)
            where, values = (scope, wanted) if scope is not None else await _of_revision(connection, rolled_back_to)
            proposal, number = await propose(connection, where, values), None
            if proposal.needed and not dry_run:
                number = await add_revision(
                    connection, where, proposal, actor=actor(), reason=reason, rolled_back_to=rolled_back_to
                )
        if as_json:
            emit({"scope": where.words, "revision": number, "dry_run": dry_run, "changes": proposal.changes})
        else:
            _tell(where, proposal, number, dry_run)
        return OK

    run(env_file, "database", work)


async def _of_revision(connection: Any, revision: int | None) -> tuple[Scope, dict[str, Any]]:
    """The scope and values of an earlier revision."""
    from app.cli.policies import FIELDS, Scope
    from db import sql

    row = await sql.admin.policy_by_revision.row(connection, revision=revision)
    if row is None:
        raise Problem(f"policy revision {revision} is unknown; `draft-pipeline policy list` shows all")
    return Scope(row["workspace_id"], row["campaign_id"]), {name: row[name] for name in FIELDS}


def _scope(workspace: str | None, campaign: str | None) -> Scope:
    from app.cli.policies import Scope

    if campaign is not None and workspace is None:
        raise WrongUse("--campaign needs --workspace")
    return Scope(workspace, campaign)


def _rules(file: Path | None) -> dict[str, Any] | None:
    from schemas.settings import POLICY_SETTINGS, wrong_rules

    if file is None:
        return None
    try:
        rules = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise WrongUse(f"{file} is no JSON: {error}") from None
    if not isinstance(rules, dict):
        raise WrongUse(f"{file} holds no JSON object")
    if wrong := wrong_rules(rules):
        raise WrongUse(f"{file}: {wrong[0]} is no rule, or has a wrong type; rules are {', '.join(POLICY_SETTINGS)}")
    return rules


def _tell(scope: Scope, proposal: Proposal, number: int | None, dry_run: bool) -> None:
    for name, (before, after) in proposal.changes.items():
        print(f"{name}: {before} -> {after}")
    if not proposal.needed:
        print(f"nothing to change: revision {proposal.base['revision']} says the same for {scope.words}")
    elif dry_run:
        print(f"dry run: no revision was written for {scope.words}")
    else:
        print(f"revision {number} is in force for {scope.words}")
