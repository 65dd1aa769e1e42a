"""Ids. Ours are UUIDv5 (RFC 9562) derived from their cause: the same cause gives the same id on every retry."""

import uuid
from typing import NewType

WorkspaceId = NewType("WorkspaceId", str)
LeadId = NewType("LeadId", str)
CampaignId = NewType("CampaignId", str)
MessageId = NewType("MessageId", str)
DraftId = NewType("DraftId", uuid.UUID)
RunId = NewType("RunId", uuid.UUID)
CallId = NewType("CallId", uuid.UUID)
EventId = NewType("EventId", uuid.UUID)
DeliveryId = NewType("DeliveryId", uuid.UUID)

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:draft-pipeline")


# Workspaces of this name and its continuations are those of `draft-pipeline evaluate`; telemetry tells them apart.
EVALUATION_WORKSPACE = "ws-evaluate"


def source_of(workspace: str) -> str:
    """Where the runs of a workspace come from, as telemetry says it."""
    ours = workspace == EVALUATION_WORKSPACE or workspace.startswith(f"{EVALUATION_WORKSPACE}-")
    return "evaluate" if ours else "pipeline"


def derive(kind: str, *cause: str | int | uuid.UUID) -> uuid.UUID:
    """The id of the `kind` that `cause` brings about. Parts are length-prefixed: ("a", "bc") is not ("ab", "c")."""
    name = kind + "|"
    for part in map(str, cause):
        name += f"{len(part)}:{part}"
    return uuid.uuid5(_NAMESPACE, name)


def message_row_id(workspace: str, message: str) -> uuid.UUID:
    return derive("message", workspace, message)


def draft_id(workspace: str, message: str, channel: str) -> DraftId:
    return DraftId(derive("draft", workspace, message, channel))


def run_id(workspace: str, message: str, channel: str, attempt: int) -> RunId:
    return RunId(derive("run", workspace, message, channel, attempt))


def call_id(run: uuid.UUID, stage: str, iteration: int, attempt: int) -> CallId:
    return CallId(derive("call", run, stage, iteration, attempt))


def event_id(event: str, *cause: str | int | uuid.UUID) -> EventId:
    return EventId(derive(f"event:{event}", *cause))


def delivery_id(draft: uuid.UUID, number: int) -> DeliveryId:
    return DeliveryId(derive("delivery", draft, number))
