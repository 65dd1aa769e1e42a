"""Kill switches as people see them: the row in Postgres and the environments of living workers, made one answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.codes import KillSwitch
from schemas.limits import SILENT_S_MAX

_WORKER: Final = "worker"
FEATURES: Final[dict[str, str]] = {
    KillSwitch.AUTO_SEND_DISABLED: "Automatic sending",
    KillSwitch.AUTO_SEND_REVISION_DISABLED: "Revision",
    KillSwitch.LEAD_CONTEXT_BUNDLE_DISABLED: "Context bundle",
}


@dataclass(frozen=True)
class SwitchState:
    """One answer about one switch. `state`: on, off, or partly (some processes' environments say off)."""

    name: str
    feature: str
    state: str
    why: str
    disabled: bool
    changed_at: Any
    changed_by: str
    reason: str
    off_in: list[str]


def is_alive(process: Mapping[str, Any]) -> bool:
    return float(process["silent_s"]) <= SILENT_S_MAX


def workers_of(processes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The workers that live."""
    return [each for each in processes if each["role"] == _WORKER and is_alive(each)]


def switch_state(row: Mapping[str, Any], processes: Sequence[Mapping[str, Any]]) -> SwitchState:
    """Row and environments, made one: off wins, and why is said."""
    name, workers = row["name"], workers_of(processes)
    off_in = [each["process_id"] for each in workers if each["switches"].get(name)]
    if row["disabled"]:
        state, why = "off", f"off for all processes, by {row['changed_by'] or 'nobody known'}"
    elif off_in and len(off_in) == len(workers):
        state, why = "off", f"{name}=1 in the environment of every worker ({len(workers)})"
    elif off_in:
        state, why = "partly", f"{name}=1 in the environment of {len(off_in)} of {len(workers)} workers"
    else:
        state, why = "on", "neither the database nor a worker's environment says off"
    changed = {key: row[key] for key in ("disabled", "changed_at", "changed_by", "reason")}
    return SwitchState(name=name, feature=FEATURES[name], state=state, why=why, off_in=off_in, **changed)


def sending(switches: Sequence[SwitchState], workers: int) -> tuple[bool, str]:
    """Whether drafts are sent by themselves now, and the sentence that says so."""
    send = next(each for each in switches if each.name == KillSwitch.AUTO_SEND_DISABLED)
    if not workers:
        return False, "nothing is sent: no worker lives"
    if send.state == "off":
        return False, "nothing is sent by itself: automatic sending is off"
    return True, "sending" if send.state == "on" else "sending, by some workers only"
