"""The file of `evaluate`: JSON Lines, workspaces first, then labelled cases.

A workspace: `{"define": NAME, "mode": ..., "threshold": ..., "settings": {...}, "campaigns": [...], "knowledge":
[{"title", "text", "verified"}], "slots_in_h": [26], "memory": ..., "leads": [{"name", "email", "phone"}]}`.
A case: `{"id", "label", "group", "workspace", "body", ...}`; see `Case`. In texts `{slot}` stands for the time of the
workspace's first slot, `{prompt}` for the beginning of a prompt of ours, `{200_links}` and `{9000_chars}` for that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.prompting import PROMPTS
from app.cli.shell import Problem
from schemas.codes import Channel, Mode, Stage
from schemas.ids import EVALUATION_WORKSPACE

PROMPT_CHARS: Final = 600
Label = Literal["send", "review", "never"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,60}$")]


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KnowledgeGiven(_Given):
    title: str
    text: str
    verified: bool = True


class LeadGiven(_Given):
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    timezone: str | None = None
    locale: str | None = None


class WorkspaceGiven(_Given):
    """A reserved workspace: `ws-evaluate-NAME`. Its channels deliver to nobody, whatever `settings` say."""

    define: Name
    mode: Mode = Mode.AI_AUTO_SEND
    threshold: float = 0.9
    settings: dict[str, Any] = Field(default_factory=dict)
    campaigns: list[dict[str, Any]] = Field(default_factory=list)
    knowledge: list[KnowledgeGiven] = Field(default_factory=list)
    slots_in_h: list[int] = Field(default_factory=list)
    leads: list[LeadGiven] = Field(default_factory=list)

    @property
    def id(self) -> str:
        return f"{EVALUATION_WORKSPACE}-{self.define}"


class Earlier(_Given):
    """A message of the same lead before the one that is judged."""

    body: str
    direction: Literal["inbound", "outbound"] = "inbound"
    thread_id: str | None = None


class Case(_Given):
    """One message. `label`: it may be sent by itself, a person must be asked, it must not be answered by itself at all.

    `expect` are codes of which each must be among the reasons, hard blocks, outcome and disposition. `model` is what
    the scripted model does, and ignored by any other: a mark (`confident`, `near`, ...), or answers by stage.
    """

    id: Name
    label: Label
    group: str
    body: str
    workspace: Name = "default"
    channel: Channel = Channel.CHAT
    subject: str | None = None
    from_address: str | None = None
    to_address: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    campaign_id: str | None = None
    lead: LeadGiven | None = None
    received_s_ago: float = 0.0
    before: list[Earlier] = Field(default_factory=list)
    expect: list[str] = Field(default_factory=list)
    model: str | dict[str, Any] | None = None

    @property
    def needs_script(self) -> bool:
        """Whether the case is about what a model says, so that only the scripted one can play it."""
        return isinstance(self.model, dict)


@dataclass(frozen=True)
class CaseFile:
    workspaces: dict[str, WorkspaceGiven]
    cases: list[Case]

    @property
    def workspace_ids(self) -> list[str]:
        return [each.id for each in self.workspaces.values()]


def read_cases(path: Path) -> CaseFile:
    """Raises Problem that names line and field."""
    workspaces: dict[str, WorkspaceGiven] = {}
    cases: list[Case] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            if isinstance(given, dict) and "define" in given:
                workspace = WorkspaceGiven.model_validate(given)
                workspaces[workspace.define] = workspace
            else:
                cases.append(Case.model_validate(given))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"])) or "the line"
            raise Problem(f"{path}, line {number}: {place}: {first['msg']}") from None
        except ValueError as error:
            raise Problem(f"{path}, line {number}: no JSON: {error}") from None
    workspaces.setdefault("default", WorkspaceGiven(define="default"))
    _check(path, workspaces, cases)
    return CaseFile(workspaces, cases)


def _check(path: Path, workspaces: dict[str, WorkspaceGiven], cases: Sequence[Case]) -> None:
    ids = [case.id for case in cases]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise Problem(f"{path}: case {twice[0]} is given twice")
    if missing := next((case for case in cases if case.workspace not in workspaces), None):
        raise Problem(f"{path}: case {missing.id} names workspace {missing.workspace}, which no line defines")
    if not cases:
        raise Problem(f"{path} holds no case")


@dataclass(frozen=True)
class Script:
    """What makes records of cases: ids bear `run`, so that two evaluations do not meet. Times are UTC."""

    run: str
    now: datetime
    scripted: bool

    def slot_of(self, workspace: WorkspaceGiven) -> datetime:
        hours = workspace.slots_in_h[0] if workspace.slots_in_h else 24
        return (self.now + timedelta(hours=hours)).replace(minute=0, second=0, microsecond=0)

    def message_id(self, case: Case) -> str:
        return f"{case.id}:{self.run}"

    def records(self, case: Case, workspace: WorkspaceGiven) -> list[bytes]:
        """The message of a case, after those before it."""
        earlier = [
            self._record(
                case, workspace, f"{self.message_id(case)}:{number}", each.body, each.direction, each.thread_id
            )
            for number, each in enumerate(case.before)
        ]
        body = case.body
        if self.scripted and isinstance(case.model, str):
            body = f"{body} !!{case.model}"
        elif self.scripted and case.needs_script:
            body = f"{body} !!case:{case.id}"
        return [*earlier, self._record(case, workspace, self.message_id(case), body, "inbound", None)]

    def _record(
        self, case: Case, workspace: WorkspaceGiven, message: str, body: str, direction: str, thread: str | None
    ) -> bytes:
        given = {
            "schema_version": 1,
            "message_id": message,
            "workspace_id": workspace.id,
            "lead_id": f"{case.id}:{self.run}",
            "channel": case.channel,
            "received_at": (self.now - timedelta(seconds=case.received_s_ago)).astimezone(UTC).isoformat(),
            "body": self.filled(body, workspace),
            "direction": direction,
            "thread_id": thread or "evaluate",
            "campaign_id": case.campaign_id,
            "subject": case.subject,
            "from_address": case.from_address,
            "to_address": case.to_address,
            "headers": case.headers or None,
            "lead": case.lead.model_dump() if case.lead else None,
        }
        return json.dumps({name: value for name, value in given.items() if value is not None}).encode()

    def leads(self, workspace: WorkspaceGiven) -> list[tuple[str, bytes]]:
        """Message ids and records that make the workspace's other leads known: somebody answered them."""
        made = []
        for number, lead in enumerate(workspace.leads):
            name = f"other-{number}:{self.run}"
            record = {
                "schema_version": 1,
                "message_id": name,
                "workspace_id": workspace.id,
                "lead_id": name,
                "channel": Channel.CHAT,
                "received_at": self.now.astimezone(UTC).isoformat(),
                "body": "Done.",
                "direction": "outbound",
                "lead": lead.model_dump(),
            }
            made.append((name, json.dumps(record).encode()))
        return made

    def answers(self, cases: Iterable[Case], workspaces: dict[str, WorkspaceGiven]) -> dict[str, Any]:
        """What the scripted model says to each case, by its id."""
        return {
            case.id: self._filled_all(case.model, workspaces[case.workspace]) for case in cases if case.needs_script
        }

    def _filled_all(self, value: Any, workspace: WorkspaceGiven) -> Any:
        match value:
            case str():
                return self.filled(value, workspace)
            case list():
                return [self._filled_all(each, workspace) for each in value]
            case dict():
                return {name: self._filled_all(each, workspace) for name, each in value.items()}
            case _:
                return value

    def filled(self, text: str, workspace: WorkspaceGiven) -> str:
        return _PLACE.sub(lambda found: self._meaning(found[1], workspace), text)

    def _meaning(self, name: str, workspace: WorkspaceGiven) -> str:
        match name:
            case "slot":
                return self.slot_of(workspace).isoformat().replace("+00:00", "Z")
            case "prompt":
                return PROMPTS[Stage.GENERATION].system[:PROMPT_CHARS]
            case "200_links":
                return " ".join(f"https://evil.example/{number}" for number in range(200))
            case _:
                return "Thank you. " * (9_000 // 11)


_PLACE: Final = re.compile(r"\{(slot|prompt|200_links|9000_chars)\}")
