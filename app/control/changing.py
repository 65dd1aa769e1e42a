"""How a change is made: compared with what the person saw, written with its audit, all in one transaction.

What somebody else changed meanwhile stops the whole change: nothing is written, and both values are told. An undo is a
change like any other, back to the value before.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from app.cli.applying import THRESHOLDS, present_fields, write_changes
from app.control.fields import FIELDS
from db import sql
from db.artifact import storable_text
from schemas.limits import REASON_CHARS_MAX

VIA: Final = "web"


@dataclass(frozen=True)
class Change:
    """One field: what the person saw, and what they want."""

    name: str
    seen: Any
    wanted: Any


@dataclass(frozen=True)
class Conflict:
    """A field that is not any more what the person saw; who changed it last, as far as the audit knows."""

    name: str
    seen: Any
    now: Any
    wanted: Any
    actor: str | None = None
    via: str | None = None
    at: Any = None


@dataclass
class Made:
    """What became of a change: written fields, or conflicts and nothing written."""

    written: list[Change] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


class NotAllowed(ValueError):
    """The change makes no sense: one sentence."""


def reason_of(text: str) -> str:
    """A reason that says something. Raises NotAllowed."""
    reason = " ".join(text.split())
    if storable_text(reason) is None:
        raise NotAllowed("The reason holds a character that cannot be stored (NUL).")
    if not reason:
        raise NotAllowed("A reason is needed: it is kept with the change.")
    if len(reason) > REASON_CHARS_MAX:
        raise NotAllowed(f"The reason is longer than {REASON_CHARS_MAX} characters.")
    return reason


async def values_of(connection: Any, workspace: str) -> dict[str, Any] | None:
    """Every field of the control plane as it is, thresholds as they are in force; None for an unknown workspace."""
    row = await sql.admin.workspace_standing.row(connection, workspace_id=workspace)
    if row is None:
        return None
    policy = await sql.admin.policy_in_force.one(connection, workspace_id=workspace, campaign_id=None)
    present = present_fields(row) | {name: policy[name] for name in THRESHOLDS}
    return {name: present[name] for name in FIELDS}


async def change(
    connection: asyncpg.Connection, workspace: str, changes: list[Change], actor: str, reason: str
) -> Made:
    """Make the changes, or none of them. Raises NotAllowed for an unknown workspace or a value the schema refuses."""
    try:
        async with connection.transaction():
            return await _change(connection, workspace, changes, actor, reason)
    except asyncpg.CheckViolationError as error:
        raise NotAllowed(f"The database refuses a value ({error.constraint_name}).") from None


async def _change(
    connection: asyncpg.Connection, workspace: str, changes: list[Change], actor: str, reason: str
) -> Made:
    await sql.draft.own_kill_switch_lock.run(connection)  # no claim commits after a switch of the workspace did
    await sql.admin.lock_workspace.row(connection, workspace_id=workspace)
    await sql.admin.lock_policies.value(connection)
    now = await values_of(connection, workspace)
    if now is None:
        raise NotAllowed(f"Workspace {workspace} is gone.")
    stale = [each for each in changes if now[each.name] != each.seen]
    if stale:
        return Made(conflicts=[await _conflict(connection, workspace, each, now[each.name]) for each in stale])
    written = [each for each in changes if each.wanted != each.seen]
    await write_changes(connection, workspace, {each.name: each.wanted for each in written}, actor, reason)
    for each in written:
        await sql.admin.add_audit.value(
            connection,
            actor=actor,
            via=VIA,
            action="set",
            workspace_id=workspace,
            subject=each.name,
            before=each.seen,
            after=each.wanted,
            reason=reason,
        )
    return Made(written=written)


async def _conflict(connection: asyncpg.Connection, workspace: str, change: Change, now: Any) -> Conflict:
    rows = await sql.admin.last_changes.rows(connection, workspace_id=workspace, subjects=[change.name])
    who = {"actor": rows[0]["actor"], "via": rows[0]["via"], "at": rows[0]["created_at"]} if rows else {}
    return Conflict(change.name, change.seen, now, change.wanted, **who)
