"""Policy revisions: append-only, one scope each; a rollback is a new revision with an old one's values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.cli.shell import Problem
from db import sql

if TYPE_CHECKING:
    import asyncpg

VIA: Final = "cli"
FIELDS: Final = ("auto_send_threshold", "booking_threshold", "rules")


@dataclass(frozen=True)
class Scope:
    """Whom a policy binds: everybody, a workspace, or one campaign of it."""

    workspace_id: str | None = None
    campaign_id: str | None = None

    @property
    def name(self) -> str:
        if self.campaign_id is not None:
            return "campaign"
        return "global" if self.workspace_id is None else "workspace"

    @property
    def words(self) -> str:
        """As people say it."""
        return " ".join(part for part in (self.name, self.workspace_id, self.campaign_id) if part)

    def subject(self, field: str) -> str:
        """Under which the audit keeps a field."""
        return f"campaign:{self.campaign_id}:{field}" if self.campaign_id is not None else field


@dataclass(frozen=True)
class Proposal:
    """What a new revision would change in its scope: by field, from what is in force there."""

    scope: Scope
    base: asyncpg.Record
    values: dict[str, Any]

    @property
    def needed(self) -> bool:
        """Whether it changes anything; the same values in a narrower scope do: they stay when the wider one moves."""
        return bool(self.changes) or self.base["scope"] != self.scope.name

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        return {name: (self.base[name], value) for name, value in self.values.items() if self.base[name] != value}


async def propose(connection: asyncpg.Connection, scope: Scope, wanted: dict[str, Any]) -> Proposal:
    """`wanted` over the policy in force for `scope`. Raises Problem for a workspace that is unknown."""
    if scope.workspace_id is not None:
        standing = await sql.admin.workspace_standing.row(connection, workspace_id=scope.workspace_id)
        if standing is None:
            raise Problem(f"workspace {scope.workspace_id} is unknown; `draft-pipeline workspace list` shows all")
        if scope.campaign_id is not None and scope.campaign_id not in standing["campaigns"]:
            raise Problem(f"campaign {scope.campaign_id} is unknown in workspace {scope.workspace_id}")
    base = await sql.admin.policy_in_force.one(
        connection, workspace_id=scope.workspace_id, campaign_id=scope.campaign_id
    )
    return Proposal(scope, base, {name: wanted.get(name, base[name]) for name in FIELDS})


async def add_revision(
    connection: asyncpg.Connection,
    scope: Scope,
    proposal: Proposal,
    *,
    actor: str,
    reason: str,
    rolled_back_to: int | None = None,
) -> int:
    """Write the revision and its audit, in the caller's transaction; returns its number."""
    row = await sql.admin.add_policy.one(
        connection,
        scope=scope.name,
        workspace_id=scope.workspace_id,
        campaign_id=scope.campaign_id,
        rolled_back_to=rolled_back_to,
        created_by=actor,
        reason=reason,
        **proposal.values,
    )
    for name, (before, after) in proposal.changes.items():
        await sql.admin.add_audit.value(
            connection,
            actor=actor,
            via=VIA,
            action="policy-apply" if rolled_back_to is None else "policy-rollback",
            workspace_id=scope.workspace_id,
            subject=scope.subject(name),
            before=before,
            after=after,
            reason=reason,
        )
    return int(row["revision"])
