"""What a run knows, fixed when it starts, so that all its stages and a later replay see the same."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.codes import Channel, Mode
from schemas.settings import PolicyRules, WorkspaceSettings


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Turn(_Frozen):
    """One message of the conversation. `author` is `lead`, `ai`, `reviewer` or `other`."""

    message_id: str
    author: str
    body: str
    received_at: datetime
    subject: str | None = None


class Knowledge(_Frozen):
    """One knowledge entry. Only verified entries count as facts; the others are untrusted text."""

    id: int
    title: str
    text: str
    verified: bool


class Slot(_Frozen):
    """A free appointment of the workspace."""

    id: int
    starts_at: datetime
    ends_at: datetime


class Profile(_Frozen):
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    timezone: str | None = None
    locale: str | None = None


class Section(_Frozen):
    """A part of the lead context bundle after its budget: `cut_chars` characters were left out."""

    name: str
    weight: float
    text: str
    chars: int
    tokens: int
    cut_chars: int = 0


class BundleStatistics(_Frozen):
    """What may be told about a bundle: counts and estimates, never text."""

    profile: str
    sections: int
    chars: int
    tokens: int
    budget_tokens: int
    truncated_sections: int


class DraftRunContextPack(_Frozen):
    """The lead context bundle by profile (`draft`, `overseer`, `evaluator`, `followup`); empty when off or failed."""

    sections: dict[str, list[Section]] = Field(default_factory=dict)
    statistics: list[BundleStatistics] = Field(default_factory=list)
    fallback: str | None = None


class DraftRunSnapshot(_Frozen):
    """Everything else a run pins at its start. Times are UTC; `now` is the database's clock."""

    run_id: UUID
    draft_id: UUID
    workspace_id: str
    workspace_name: str
    lead_id: str
    channel: Channel
    thread_id: str
    campaign_id: str | None
    mode: Mode
    campaign_instructions: str
    settings: WorkspaceSettings
    policy: PolicyRules
    now: datetime
    trigger: Turn
    trigger_ingest_seq: int
    recipient: str | None
    profile: Profile
    conversation: list[Turn]
    knowledge: list[Knowledge]
    free_slots: list[Slot]
    bundle_enabled: bool
    attachments: list[str] = Field(default_factory=list)
    forged_sender: bool = False
    traceparent: str | None = None
