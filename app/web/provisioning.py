"""`POST /api/workspaces`: another system makes or renames a workspace, with WORKSPACE_PROVISIONING_SECRET as bearer.

It sets name, mode and campaigns. What decides about sending (thresholds, rollout columns, any setting) is a
super-admin's: 403 names the field, and nothing is changed. What a person changed since is kept.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from app.cli.applying import Applied, apply_document
from app.cli.documents import WorkspaceDocument, first_mistake
from app.web.access import machine
from db.pool import transaction
from schemas.settings import WorkspaceSettings

if TYPE_CHECKING:
    from app.web.server import Web

BODY_BYTES_MAX: Final = 256 * 1024
VIA: Final = "provisioning"
_RESERVED: Final = frozenset({*WorkspaceSettings.model_fields, "settings", "threshold", "booking_threshold"})
_RESERVED_OF_CAMPAIGN: Final = frozenset({"instructions"})

router = APIRouter()


@router.post("/api/workspaces", dependencies=[machine("workspace_provisioning_secret")])
async def provision(request: Request) -> JSONResponse:
    """201 when the workspace is new, 200 when it was there, whether anything changed or not.

    The body is `{workspace_id, name, default_mode, campaigns: [{campaign_id, name, mode}]}`; what is not given stays.
    403 for a field that needs a super-admin, 413, and 422 with the field for what is no such body.
    """
    web: Web = request.app.state.web
    given = await _read(request)
    if isinstance(given, JSONResponse):
        return given
    reserved = _reserved(given)
    if reserved is not None:
        return _problem(403, f"{reserved} needs a super-admin: set it in the control plane", field=reserved)
    try:
        document = WorkspaceDocument.model_validate(given)
    except ValidationError as error:
        return _problem(422, first_mistake(error))
    async with transaction(web.pool) as connection:
        applied = await apply_document(connection, document, actor=VIA, reason=VIA, force=False, via=VIA)
    return JSONResponse(_told(applied), status_code=201 if applied.created else 200)


async def _read(request: Request) -> dict[str, Any] | JSONResponse:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return _problem(413, f"more than {BODY_BYTES_MAX} bytes")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return _problem(422, "the body is no JSON")
    return given if isinstance(given, dict) else _problem(422, "the body is no JSON object")


def _reserved(given: dict[str, Any]) -> str | None:
    """The first field that is not for this caller, by its own name."""
    settings = given.get("settings")
    inside = [f"settings.{name}" for name in settings] if isinstance(settings, dict) else []
    campaigns = given.get("campaigns")
    of_campaigns = [
        f"campaigns[{number}].{name}"
        for number, campaign in enumerate(campaigns if isinstance(campaigns, list) else [])
        for name in (campaign if isinstance(campaign, dict) else {})
        if name in _RESERVED_OF_CAMPAIGN
    ]
    return next(iter([*inside, *(name for name in given if name in _RESERVED), *of_campaigns]), None)


def _told(applied: Applied) -> dict[str, Any]:
    return {
        "workspace_id": applied.workspace_id,
        "created": applied.created,
        "changed": [change.subject for change in applied.changed],
        "kept": [{"field": change.subject, "set_by": change.kept_for} for change in applied.kept],
    }


def _problem(status: int, words: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": words, **more}, status_code=status)
