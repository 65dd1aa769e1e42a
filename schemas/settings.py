"""What a workspace chooses, and how a stored value that makes no sense is read: as the default."""

from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.codes import Stage
from schemas.limits import REVISION_ITERATIONS_MAX

MODEL_DEFAULT: Final = "gpt-5.2"
EFFORT_DEFAULT: Final = "high"
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")


class WorkspaceSettings(BaseModel):
    """One row of `workspace_settings`, as stored. Column names are the field names."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    auto_send_revision_enabled: bool = False
    auto_send_revision_model: str | None = MODEL_DEFAULT
    auto_send_revision_reasoning_effort: str | None = EFFORT_DEFAULT
    auto_send_revision_max_iterations: int | None = REVISION_ITERATIONS_MAX
    draft_model: str | None = MODEL_DEFAULT
    draft_reasoning_effort: str | None = "low"
    draft_verification_model: str | None = MODEL_DEFAULT
    draft_verification_reasoning_effort: str | None = "low"
    overseer_model: str | None = MODEL_DEFAULT
    overseer_reasoning_effort: str | None = "medium"
    evaluation_model: str | None = MODEL_DEFAULT
    evaluation_reasoning_effort: str | None = "medium"
    cheaper_model: str | None = None
    lead_context_bundle_enabled: bool = False
    lead_context_bundle_budgets: Any = Field(default_factory=dict)  # read by resolve_budgets, whatever is stored
    followup_booking_gate_enabled: bool = False
    instructions: str = ""
    quiet_window_s: float = 5.0
    running_runs_max: int = 200
    message_age_s_max: float = 24 * 3600.0
    auto_replies_per_hour_max: int = 3
    auto_replies_per_day_max: int = 10
    sends_per_s_max: float | None = None
    send_delay_s: float = 0.0
    business_hours: Any = None  # read by policy.business_hours, whatever is stored
    timezone: str = "UTC"
    language: str | None = None
    always_ask_topics: list[str] = Field(default_factory=lambda: ["refund", "legal", "password"])
    forbidden_phrases: list[str] = Field(default_factory=list)
    allowed_promises: list[str] = Field(default_factory=list)
    monthly_budget_usd: Decimal | None = None
    review_s_max: float = 7 * 24 * 3600.0
    channels: dict[str, dict[str, Any]] = Field(default_factory=dict)
    slack_channel: str | None = None
    slack_approver_ids: list[str] = Field(default_factory=list)
    slack_team_id: str | None = None


_MODEL_COLUMNS: Final[dict[Stage, tuple[str, str]]] = {
    Stage.STRATEGY: ("draft_model", "draft_reasoning_effort"),
    Stage.GENERATION: ("draft_model", "draft_reasoning_effort"),
    Stage.VERIFIER: ("draft_verification_model", "draft_verification_reasoning_effort"),
    Stage.MEETING_EXTRACT: ("overseer_model", "overseer_reasoning_effort"),
    Stage.MEETING_GATE: ("overseer_model", "overseer_reasoning_effort"),
    Stage.EVALUATION: ("evaluation_model", "evaluation_reasoning_effort"),
    Stage.SELECTOR: ("auto_send_revision_model", "auto_send_revision_reasoning_effort"),
    Stage.REVISER: ("auto_send_revision_model", "auto_send_revision_reasoning_effort"),
}


class ModelChoice(BaseModel):
    """The model and effort a stage uses, after coercion. `coerced` names the columns whose value made no sense."""

    model_config = ConfigDict(frozen=True)
    model: str
    effort: str
    coerced: tuple[str, ...] = ()


def model_choice(settings: WorkspaceSettings, stage: Stage, known_models: frozenset[str]) -> ModelChoice:
    """Model and effort of `stage`. An unknown model or effort becomes the default; never an error."""
    model_column, effort_column = _MODEL_COLUMNS[stage]
    model, effort = getattr(settings, model_column), getattr(settings, effort_column)
    coerced = []
    if model not in known_models:
        model = MODEL_DEFAULT
        coerced.append(model_column)
    if effort not in EFFORTS:
        effort = WorkspaceSettings.model_fields[effort_column].default
        coerced.append(effort_column)
    return ModelChoice(model=model, effort=effort, coerced=tuple(coerced))


def iterations_max(settings: WorkspaceSettings) -> int:
    """Revision iterations in force: null is 3, below 1 is 1, above 3 is 3."""
    stored = settings.auto_send_revision_max_iterations
    return REVISION_ITERATIONS_MAX if stored is None else min(max(stored, 1), REVISION_ITERATIONS_MAX)


def _a_day(value: str) -> str:
    """`YYYY-MM-DD`, or `MM-DD` for the day of every year."""
    date.fromisoformat(value if len(value) == len("2000-01-01") else f"2000-{value}")  # a leap year
    return value


class BusinessHours(BaseModel):
    """`{"days": [0..6], "start": "09:00", "end": "17:00", "holidays": ["2026-04-06", "12-25"]}`; Monday is 0. A holiday
    without a year is one every year."""

    model_config = ConfigDict(frozen=True)
    days: list[Annotated[int, Field(ge=0, le=6)]] = Field(default_factory=lambda: [0, 1, 2, 3, 4])
    start: time = time(9)
    end: time = time(17)
    holidays: list[Annotated[str, AfterValidator(_a_day)]] = Field(default_factory=list)

    def are_on(self, day: date) -> bool:
        """Whether there are hours on this day."""
        written = day.isoformat()
        return day.weekday() in self.days and written not in self.holidays and written[-5:] not in self.holidays


# What the `rules` of a policy may decide in place of the workspace's column of that name: hard blocks and revision.
POLICY_SETTINGS: Final = (
    "always_ask_topics",
    "forbidden_phrases",
    "allowed_promises",
    "auto_send_revision_model",
    "auto_send_revision_reasoning_effort",
    "auto_send_revision_max_iterations",
)
_POLICY_VALUE: Final[dict[str, TypeAdapter[Any]]] = {
    name: TypeAdapter[Any](WorkspaceSettings.model_fields[name].annotation or Any) for name in POLICY_SETTINGS
}


def wrong_rules(rules: dict[str, Any]) -> list[str]:
    """The names in a policy's rules that are unknown, or whose value is not of the setting's type."""
    return [name for name, value in rules.items() if name not in _POLICY_VALUE or not _fits(name, value)]


def _fits(name: str, value: Any) -> bool:
    try:
        _POLICY_VALUE[name].validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def under_policy(settings: WorkspaceSettings, rules: dict[str, Any]) -> WorkspaceSettings:
    """The settings of a run under its policy. A rule that makes no sense decides nothing; never an error."""
    if not rules:
        return settings
    wrong = wrong_rules(rules)
    return settings.model_copy(update={name: value for name, value in rules.items() if name not in wrong})


class PolicyRules(BaseModel):
    """One `confidence_policy_revision`: what must hold for a draft to be sent by itself. For `rules` see
    `under_policy`."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    revision: int
    auto_send_threshold: float = 0.90
    booking_threshold: float = 0.80
    rules: dict[str, Any] = Field(default_factory=dict)
