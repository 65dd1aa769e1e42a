"""The document of `workspace apply`: one object or a list, checked as a whole before anything is changed."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agents.context import resolve_budgets
from app.cli.shell import Problem
from schemas.codes import Channel, Mode
from schemas.events import Identifier, Probability, Text
from schemas.settings import BusinessHours, WorkspaceSettings

_SETTINGS: Final = WorkspaceSettings.model_fields


class CampaignDocument(BaseModel):
    """A campaign; what is not given stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    campaign_id: Identifier
    mode: Mode
    name: Text | None = None
    instructions: Text | None = None


class WorkspaceDocument(BaseModel):
    """One workspace. Columns of `workspace_settings` stand in `settings` or beside it; unknown ones are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    workspace_id: Identifier
    name: Text | None = None
    default_mode: Mode | None = None
    threshold: Probability | None = None
    booking_threshold: Probability | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    campaigns: Annotated[list[CampaignDocument], Field(default_factory=list)]

    @model_validator(mode="before")
    @classmethod
    def _columns_beside(cls, given: Any) -> Any:
        """`quiet_window_s`, `channels` and every other column may stand beside `settings`."""
        if not isinstance(given, dict):
            return given
        settings = given.get("settings", {})
        if not isinstance(settings, dict):
            return given
        beside = {name: value for name, value in given.items() if name in _SETTINGS}
        twice = beside.keys() & settings.keys()
        if twice:
            raise ValueError(f"{min(twice)} is given twice")
        rest = {name: value for name, value in given.items() if name not in _SETTINGS}
        return {**rest, "settings": {**settings, **beside}}

    @field_validator("settings")
    @classmethod
    def _known_and_sensible(cls, settings: dict[str, Any]) -> dict[str, Any]:
        unknown = settings.keys() - _SETTINGS.keys()
        if unknown:
            raise ValueError(f"{min(unknown)} is no column of workspace_settings")
        try:
            read = WorkspaceSettings.model_validate(settings).model_dump(mode="json")
            if settings.get("business_hours") is not None:
                BusinessHours.model_validate(settings["business_hours"])
        except ValidationError as error:
            raise ValueError(first_mistake(error)) from None
        _, senseless = resolve_budgets(settings.get("lead_context_bundle_budgets", {}))
        if senseless:
            raise ValueError(f"lead_context_bundle_budgets: {senseless[0]} makes no sense")
        unknown_channels = read["channels"].keys() - set(Channel)
        if unknown_channels:
            raise ValueError(f"channels: {min(unknown_channels)} is no channel; they are {', '.join(Channel)}")
        if "timezone" in settings and not _is_zone(read["timezone"]):
            raise ValueError("timezone: no such time zone")
        return {name: read[name] for name in settings}

    def fields(self) -> dict[str, Any]:
        """What the document sets, by the subject that its audit bears."""
        given = {
            "name": self.name,
            "default_mode": self.default_mode and self.default_mode.value,
            "auto_send_threshold": self.threshold,
            "booking_threshold": self.booking_threshold,
        }
        found = {name: value for name, value in given.items() if value is not None} | self.settings
        for campaign in self.campaigns:
            for name in ("mode", "name", "instructions"):
                value = getattr(campaign, name)
                if value is not None:
                    found[f"campaign:{campaign.campaign_id}:{name}"] = str(value)
        return found


def _is_zone(name: str) -> bool:
    return name in available_timezones() and bool(ZoneInfo(name))


def first_mistake(error: ValidationError) -> str:
    """The first mistake: where it is and what is wrong, without the value."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def read_documents(text: str) -> list[WorkspaceDocument]:
    """The documents in a file's text. Raises Problem that names the workspace and the field."""
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise Problem(f"the file is no JSON: {error}") from None
    listed = parsed if isinstance(parsed, list) else [parsed]
    documents = []
    for number, each in enumerate(listed, 1):
        name = each.get("workspace_id") if isinstance(each, dict) else None
        try:
            documents.append(WorkspaceDocument.model_validate(each))
        except ValidationError as error:
            raise Problem(f"workspace {name or number}: {first_mistake(error)}; nothing was changed") from None
    names = [document.workspace_id for document in documents]
    if twice := {name for name in names if names.count(name) > 1}:
        raise Problem(f"workspace {min(twice)} is given twice; nothing was changed")
    return documents
