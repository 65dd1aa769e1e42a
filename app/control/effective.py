"""What is in force for a workspace, and why. Pure: off wins, and the outermost reason is the one told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.control.switches import SwitchState
from schemas.codes import KillSwitch, Mode, Stage
from schemas.settings import WorkspaceSettings, iterations_max, model_choice


@dataclass(frozen=True)
class Effective:
    """`state`: on, partly or off."""

    state: str
    why: str


@dataclass(frozen=True)
class Standing:
    """A workspace as it works now; `coerced`: columns whose stored value makes no sense and is read as the default."""

    auto_send: Effective
    revision: Effective
    bundle: Effective
    booking_gate: Effective
    model: str
    effort: str
    iterations: int
    coerced: tuple[str, ...]


def standing(row: Mapping[str, Any], switches: Mapping[str, SwitchState], known_models: frozenset[str]) -> Standing:
    """From a row of `control.workspaces`."""
    settings = WorkspaceSettings.model_validate(row["settings"])
    choice = model_choice(settings, Stage.REVISER, known_models)
    send = _auto_send(row, switches[KillSwitch.AUTO_SEND_DISABLED])
    iterations = iterations_max(settings)
    stored = settings.auto_send_revision_max_iterations
    misread = () if stored in (None, iterations) else ("auto_send_revision_max_iterations",)
    return Standing(
        auto_send=send,
        revision=_revision(settings, send, switches[KillSwitch.AUTO_SEND_REVISION_DISABLED]),
        bundle=_setting(
            settings.lead_context_bundle_enabled,
            switches[KillSwitch.LEAD_CONTEXT_BUNDLE_DISABLED],
            "the context bundle",
        ),
        booking_gate=_own(settings.followup_booking_gate_enabled),
        model=choice.model,
        effort=choice.effort,
        iterations=iterations,
        coerced=choice.coerced + misread,
    )


def _auto_send(row: Mapping[str, Any], switch: SwitchState) -> Effective:
    if switch.state == "off":
        return Effective("off", f"kill switch: {switch.why}")
    sends, all_modes = row["default_mode"] == Mode.AI_AUTO_SEND, [row["default_mode"], *row["campaign_modes"]]
    campaigns = f"{row['campaign_modes'].count(Mode.AI_AUTO_SEND)} of {len(row['campaign_modes'])} campaigns send"
    if Mode.AI_AUTO_SEND not in all_modes:
        return Effective("off", f"default mode {row['default_mode']}, and no campaign sends")
    if switch.state == "partly":
        return Effective("partly", f"kill switch: {switch.why}")
    if all(mode == Mode.AI_AUTO_SEND for mode in all_modes):
        return Effective("on", f"default mode {row['default_mode']}")
    return Effective("partly", campaigns if not sends else f"default mode {row['default_mode']}; {campaigns}")


def _revision(settings: WorkspaceSettings, send: Effective, switch: SwitchState) -> Effective:
    if switch.state == "off":
        return Effective("off", f"kill switch: {switch.why}")
    if not settings.auto_send_revision_enabled:
        return Effective("off", "not enabled for this workspace")
    if send.state == "off":
        return Effective("off", f"automatic sending is off: {send.why}")
    if "partly" in (switch.state, send.state):
        return Effective("partly", f"kill switch: {switch.why}" if switch.state == "partly" else send.why)
    return Effective("on", "enabled for this workspace")


def _setting(enabled: bool, switch: SwitchState, what: str) -> Effective:
    if switch.state == "off":
        return Effective("off", f"kill switch of {what}: {switch.why}")
    if not enabled:
        return Effective("off", "not enabled for this workspace")
    return Effective("partly", f"kill switch: {switch.why}") if switch.state == "partly" else _own(enabled)


def _own(enabled: bool) -> Effective:
    return (
        Effective("on", "enabled for this workspace") if enabled else Effective("off", "not enabled for this workspace")
    )
