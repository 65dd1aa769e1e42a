"""The fields that the control plane offers: how each is read from a form, bounded and grouped. One line a field.

Channels, instructions and word lists are documents of their own and stay with `workspace apply`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from schemas.codes import Mode
from schemas.limits import REVISION_ITERATIONS_MAX
from schemas.settings import EFFORTS

MODEL_CHARS_MAX: Final = 100
_HOUR_S: Final = 3600.0
_YEAR_S: Final = 366 * 24 * 3600.0


class Unreadable(ValueError):
    """What was typed is no value of this field: one sentence."""


@dataclass(frozen=True)
class Field:
    """One field. `kind`: switch, choice, model, integer, number, money or json. Empty text is null where `nullable`."""

    name: str
    label: str
    kind: str
    group: str
    help: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    nullable: bool = False

    def read(self, text: str) -> Any:
        """The value of a form's text, as JSON knows it. Raises Unreadable."""
        text = text.strip()
        if not text and self.nullable:
            return None
        if not text:
            raise Unreadable(f"{self.label}: a value is needed")
        return _READERS[self.kind](self, text)

    def write(self, value: Any) -> str:
        """The text that a form shows for a value."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "on" if value else "off"
        if self.kind == "json":
            return json.dumps(value, indent=2, ensure_ascii=False)
        return f"{value:g}" if isinstance(value, float) else str(value)


def _switch(field: Field, text: str) -> bool:
    if text not in ("on", "off"):
        raise Unreadable(f"{field.label}: on or off")
    return text == "on"


def _choice(field: Field, text: str) -> str:
    if text not in field.choices:
        raise Unreadable(f"{field.label}: one of {', '.join(field.choices)}")
    return text


def _model(field: Field, text: str) -> str:
    if len(text) > MODEL_CHARS_MAX or not text.isprintable() or " " in text:
        raise Unreadable(f"{field.label}: the name of a model, at most {MODEL_CHARS_MAX} characters without blanks")
    return text


def _bounded(field: Field, value: Decimal, shown: str) -> Decimal:
    low, high = field.low, field.high
    if not value.is_finite() or (low is not None and value < Decimal(str(low))):
        raise Unreadable(
            f"{field.label}: {shown} is below {low:g}" if value.is_finite() else f"{field.label}: a number"
        )
    if high is not None and value > Decimal(str(high)):
        raise Unreadable(f"{field.label}: {shown} is above {high:g}")
    return value


def _decimal(field: Field, text: str) -> Decimal:
    try:
        return _bounded(field, Decimal(text), text)
    except InvalidOperation:
        raise Unreadable(f"{field.label}: {text[:20]} is no number") from None


def _integer(field: Field, text: str) -> int:
    value = _decimal(field, text)
    if value != value.to_integral_value():
        raise Unreadable(f"{field.label}: a whole number")
    return int(value)


def _number(field: Field, text: str) -> float:
    return float(_decimal(field, text))


def _money(field: Field, text: str) -> str:
    """As `workspace_settings` gives it back: four decimals, written as short as they go."""
    return str(Decimal(str(float(round(_decimal(field, text), 4)))))


def _object(field: Field, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable(f"{field.label}: no JSON") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{field.label}: a JSON object, {{}} for none")
    return value


_READERS: Final[dict[str, Callable[[Field, str], Any]]] = {
    "switch": _switch,
    "choice": _choice,
    "model": _model,
    "integer": _integer,
    "number": _number,
    "money": _money,
    "json": _object,
}

ROLLOUT, REVISION, THRESHOLDS, BUDGETS, MODELS, PACE = (
    "Rollout", "Revision", "Thresholds", "Budgets and limits", "Other models", "Pace",
)  # fmt: skip
_MODES: Final = tuple(mode.value for mode in Mode)


def _stage_models(prefix: str, what: str) -> tuple[Field, Field]:
    return (
        Field(f"{prefix}_model", f"{what}: model", "model", MODELS, nullable=True),
        Field(f"{prefix}_reasoning_effort", f"{what}: effort", "choice", MODELS, choices=EFFORTS, nullable=True),
    )


FIELDS: Final[dict[str, Field]] = {
    field.name: field
    for field in (
        Field(
            "default_mode", "Default mode", "choice", ROLLOUT, "For messages of no campaign; a campaign has its own.",
            choices=_MODES,
        ),
        Field("auto_send_revision_enabled", "Revision", "switch", ROLLOUT, "Drafts below the threshold."),
        Field("lead_context_bundle_enabled", "Context bundle", "switch", ROLLOUT, "Profile, memory, longer history."),
        Field("followup_booking_gate_enabled", "Booking gate", "switch", ROLLOUT, "The overseer must approve."),
        Field("auto_send_revision_model", "Model", "model", REVISION, nullable=True),
        Field("auto_send_revision_reasoning_effort", "Effort", "choice", REVISION, choices=EFFORTS, nullable=True),
        Field(
            "auto_send_revision_max_iterations", "Iterations", "integer", REVISION, "1: one attempt only.",
            1, REVISION_ITERATIONS_MAX, nullable=True,
        ),
        Field(
            "auto_send_threshold", "Send from confidence", "number", THRESHOLDS,
            "A change is a new policy revision.", 0, 1,
        ),
        Field("booking_threshold", "Book from confidence", "number", THRESHOLDS, "", 0, 1),
        Field("monthly_budget_usd", "Budget a month, USD", "money", BUDGETS, "Empty: none.", 0, 1e7, nullable=True),
        Field("running_runs_max", "Runs at a time", "integer", BUDGETS, "", 1, 100_000),
        Field("auto_replies_per_hour_max", "Automatic replies an hour", "integer", BUDGETS, "", 0, 1000),
        Field("auto_replies_per_day_max", "Automatic replies a day", "integer", BUDGETS, "", 0, 10_000),
        Field("sends_per_s_max", "Sends a second", "number", BUDGETS, "Empty: no limit.", 0.001, 10_000, nullable=True),
        Field(
            "lead_context_bundle_budgets", "Bundle budgets", "json", BUDGETS,
            "Tokens by profile; what is not named has its default.",
        ),
        *_stage_models("draft", "Strategy and draft"),
        *_stage_models("draft_verification", "Verifier"),
        *_stage_models("overseer", "Meeting overseer"),
        *_stage_models("evaluation", "Evaluation"),
        Field("cheaper_model", "When the budget ends: model", "model", MODELS, "Empty: none.", nullable=True),
        Field("quiet_window_s", "Quiet window, s", "number", PACE, "After a message, before its draft.", 0, _HOUR_S),
        Field("send_delay_s", "Delay of sends, s", "number", PACE, "", 0, _YEAR_S),
        Field("message_age_s_max", "Oldest message, s", "number", PACE, "Older ones are a person's.", 1, _YEAR_S),
        Field("review_s_max", "Reviews expire after, s", "number", PACE, "", 60, _YEAR_S),
    )
}  # fmt: skip
GROUPS: Final = tuple(dict.fromkeys(field.group for field in FIELDS.values()))
