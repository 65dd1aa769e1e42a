"""`workspace apply`, `list` and `show`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import (
    OK,
    AsJson,
    EnvFile,
    Problem,
    actor,
    connection_to,
    emit,
    run,
    show_fields,
    show_table,
    stamp,
)

if TYPE_CHECKING:
    from app.cli.applying import Applied
    from app.config import Config

group = typer.Typer(name="workspace", help="Provision workspaces, and see how they are set up.", no_args_is_help=True)


@group.command(epilog="Example: draft-pipeline workspace apply workspaces.json")
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, one object or a list; - reads stdin.")],
    force: Annotated[bool, typer.Option("--force", help="Also what was changed in the control plane since.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the audit.")] = "workspace apply",
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring workspaces to what FILE says. Applying it again changes only what differs; every change is audited."""

    async def work(config: Config) -> int:
        from app.cli.applying import apply_document
        from app.cli.documents import read_documents

        documents = read_documents(sys.stdin.read() if str(file) == "-" else file.read_text("utf-8"))
        async with connection_to(config.database_url) as connection, connection.transaction():
            applied = [
                await apply_document(connection, document, actor=actor(), reason=reason, force=force)
                for document in documents
            ]
        if as_json:
            emit([_as_json(each) for each in applied])
        else:
            for each in applied:
                _tell(each)
        return OK

    run(env_file, "database", work)


def _as_json(applied: Applied) -> dict[str, object]:
    from app.cli.applying import masked

    def rows(changes: object) -> list[dict[str, object]]:
        return [
            {"field": c.subject, "before": masked(c.before), "after": masked(c.after), "kept_for": c.kept_for}
            for c in changes  # type: ignore[attr-defined]
        ]

    return {
        "workspace_id": applied.workspace_id,
        "created": applied.created,
        "changed": rows(applied.changed),
        "kept": rows(applied.kept),
    }


def _tell(applied: Applied) -> None:
    from app.cli.applying import masked

    if not (applied.created or applied.changed or applied.kept):
        print(f"{applied.workspace_id}: nothing to change")
        return
    print(f"{applied.workspace_id}: {'created, ' if applied.created else ''}{len(applied.changed)} changed")
    for change in applied.changed:
        print(f"  {change.subject}: {masked(change.before)!s} -> {masked(change.after)!s}")
    for change in applied.kept:
        print(f"  {change.subject}: kept {masked(change.before)!s}, set by {change.kept_for}; --force overwrites it")


@group.command("list", epilog="Example: draft-pipeline workspace list --json")
def list_(env_file: EnvFile = None, as_json: AsJson = False) -> None:
    """Every workspace with its mode, rollout and threshold."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            rows = [dict(row) for row in await sql.admin.workspace_list.rows(connection)]
        if as_json:
            emit(rows)
        elif not rows:
            print("no workspace yet: draft-pipeline workspace apply FILE")
        else:
            columns = ("id", "name", "default_mode", "revision", "bundle", "booking_gate", "threshold", "policy")
            heads = ("workspace", "name", "mode", "revision", "bundle", "booking gate", "threshold#", "policy#")
            show_table(heads, [[_word(row[column]) for column in columns] for row in rows])
        return OK

    run(env_file, "database", work)


def _word(value: object) -> object:
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


@group.command(epilog="Example: draft-pipeline workspace show ws-1")
def show(
    workspace_id: Annotated[str, typer.Argument(metavar="WORKSPACE", help="The workspace's id.")],
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Everything that is set for one workspace; secrets are not shown."""

    async def work(config: Config) -> int:
        from app.cli.applying import masked
        from db import sql

        async with connection_to(config.database_url) as connection:
            row = await sql.admin.workspace_standing.row(connection, workspace_id=workspace_id)
            policy = await sql.admin.policy_in_force.row(connection, workspace_id=workspace_id, campaign_id=None)
        if row is None or policy is None:
            raise Problem(f"workspace {workspace_id} is unknown; `draft-pipeline workspace list` shows all")
        shown = masked({**dict(row), "policy": dict(policy)})
        if as_json:
            emit(shown)
            return OK
        head = {"workspace": row["id"], "name": row["name"], "default_mode": row["default_mode"]}
        in_force = {
            "policy": f"revision {policy['revision']} ({policy['scope']}, by {policy['created_by']})",
            "auto_send_threshold": policy["auto_send_threshold"],
            "booking_threshold": policy["booking_threshold"],
        }
        show_fields({**head, "created": stamp(row["created_at"]), **in_force, **shown["settings"]})
        for campaign, fields in shown["campaigns"].items():
            print(f"campaign {campaign}: {fields['mode']}  {fields['name']}")
        return OK

    run(env_file, "database", work)
