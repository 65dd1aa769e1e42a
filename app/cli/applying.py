"""What `workspace apply` does: from a document to the changes that make it true, each audited under its field's name.

A field whose newest audit row came another way (the control plane, `policy`) was changed by somebody since: it is kept
unless forced. Subjects in `admin_audit` are `name`, `default_mode`, a column of `workspace_settings`,
`auto_send_threshold`, `booking_threshold`, and `campaign:<id>:<field>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from app.cli.documents import WorkspaceDocument
from db import sql
from schemas.settings import WorkspaceSettings

if TYPE_CHECKING:
    import asyncpg

VIA: Final = "cli-apply"
THRESHOLDS: Final = ("auto_send_threshold", "booking_threshold")
_SECRET_MARKS: Final = ("secret", "token", "password")


@dataclass(frozen=True)
class Change:
    """One field that differs. `kept_for` names who changed it last when it is left alone."""

    subject: str
    before: Any
    after: Any
    kept_for: str | None = None


@dataclass
class Applied:
    """What became of one document."""

    workspace_id: str
    created: bool = False
    changed: list[Change] = field(default_factory=list)
    kept: list[Change] = field(default_factory=list)


async def apply_document(
    connection: asyncpg.Connection,
    document: WorkspaceDocument,
    *,
    actor: str,
    reason: str,
    force: bool,
    via: str = VIA,
) -> Applied:
    """Bring one workspace to what its document says, in the caller's transaction. `via` names the way it came; what was
    changed another way since is kept unless forced."""
    applied = Applied(document.workspace_id)
    applied.created = bool(
        await sql.admin.create_workspace_if_absent.run(connection, workspace_id=document.workspace_id)
    )
    await sql.draft.own_kill_switch_lock.run(connection)  # no claim commits after a switch of the workspace did
    await sql.admin.lock_workspace.row(connection, workspace_id=document.workspace_id)
    await sql.admin.lock_policies.value(connection)
    standing = await sql.admin.workspace_standing.one(connection, workspace_id=document.workspace_id)
    wanted, present = document.fields(), present_fields(standing)
    subjects = [subject for subject, value in wanted.items() if present.get(subject, _ABSENT) != value]
    owners = {} if force else await _changed_elsewhere(connection, document.workspace_id, subjects, via)
    for subject in subjects:
        change = Change(subject, present.get(subject), wanted[subject], owners.get(subject))
        (applied.kept if change.kept_for else applied.changed).append(change)
    await write_changes(connection, document.workspace_id, {c.subject: c.after for c in applied.changed}, actor, reason)
    if applied.created:
        await _audit(connection, actor, via, "create", document.workspace_id, Change("workspace", None, True), reason)
    for change in applied.changed:
        await _audit(connection, actor, via, "set", document.workspace_id, change, reason)
    return applied


_ABSENT: Final = object()


def present_fields(standing: asyncpg.Record) -> dict[str, Any]:
    """Every field of a workspace as it is, under the subject that its audit bears."""
    settings = WorkspaceSettings.model_validate(standing["settings"]).model_dump(mode="json")
    policy = standing["policy"] or {}
    campaigns = {
        f"campaign:{campaign}:{name}": value
        for campaign, row in standing["campaigns"].items()
        for name, value in row.items()
    }
    return {
        "name": standing["name"],
        "default_mode": standing["default_mode"],
        **{threshold: policy[threshold] for threshold in THRESHOLDS if threshold in policy},
        **settings,
        **campaigns,
    }


async def _changed_elsewhere(
    connection: asyncpg.Connection, workspace: str, subjects: list[str], via: str
) -> dict[str, str]:
    rows = await sql.admin.last_changes.rows(connection, workspace_id=workspace, subjects=subjects)
    return {row["subject"]: f"{row['actor']} via {row['via']}" for row in rows if row["via"] != via}


async def write_changes(
    connection: asyncpg.Connection, workspace: str, changes: dict[str, Any], actor: str, reason: str
) -> None:
    """Write fields, whatever table holds them."""
    if {"name", "default_mode"} & changes.keys():
        await sql.admin.change_workspace.run(
            connection, workspace_id=workspace, name=changes.get("name"), default_mode=changes.get("default_mode")
        )
    settings = {name: value for name, value in changes.items() if name in WorkspaceSettings.model_fields}
    if settings:
        await sql.admin.change_settings.run(connection, workspace_id=workspace, changes=settings)
    for campaign, fields in _by_campaign(changes).items():
        await sql.admin.put_campaign.run(
            connection,
            workspace_id=workspace,
            campaign_id=campaign,
            name=fields.get("name"),
            mode=fields.get("mode"),
            instructions=fields.get("instructions"),
        )
    if set(THRESHOLDS) & changes.keys():
        await _new_policy(connection, workspace, changes, actor, reason)


def _by_campaign(changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    campaigns: dict[str, dict[str, Any]] = {}
    for subject, value in changes.items():
        if subject.startswith("campaign:"):
            campaign, _, name = subject.removeprefix("campaign:").rpartition(":")
            campaigns.setdefault(campaign, {})[name] = value
    return campaigns


async def _new_policy(
    connection: asyncpg.Connection, workspace: str, changes: dict[str, Any], actor: str, reason: str
) -> None:
    """A revision of the workspace's scope; what is not given is taken from the policy in force."""
    base = await sql.admin.policy_in_force.one(connection, workspace_id=workspace, campaign_id=None)
    await sql.admin.add_policy.row(
        connection,
        scope="workspace",
        workspace_id=workspace,
        campaign_id=None,
        rules=base["rules"],
        rolled_back_to=None,
        created_by=actor,
        reason=reason,
        **{threshold: changes.get(threshold, base[threshold]) for threshold in THRESHOLDS},
    )


async def _audit(
    connection: asyncpg.Connection, actor: str, via: str, action: str, workspace: str, change: Change, reason: str
) -> None:
    await sql.admin.add_audit.value(
        connection,
        actor=actor,
        via=via,
        action=action,
        workspace_id=workspace,
        subject=change.subject,
        before=masked(change.before),
        after=masked(change.after),
        reason=reason,
    )


def masked(value: Any, name: str = "") -> Any:
    """A value without the secrets in it."""
    if isinstance(value, dict):
        return {key: masked(each, str(key)) for key, each in value.items()}
    if value and any(mark in name.lower() for mark in _SECRET_MARKS):
        return "(set)"
    return value
