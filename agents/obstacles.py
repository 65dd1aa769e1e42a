"""What stands against a send, as it is at the moment of the claim. Pure but for the environment's switch."""

from dataclasses import dataclass

import asyncpg

from agents.outcomes import sha256_of
from agents.rim import Rim
from schemas.codes import DraftStatus, KillSwitch, Mode


@dataclass(frozen=True)
class Obstacle:
    """Why a send must not happen. `status` is the draft's fate; None: a person decides."""

    reason: str
    status: DraftStatus | None = None


def staleness(delivery: asyncpg.Record, now: asyncpg.Record) -> Obstacle | None:
    """What nobody can pass, not even a person: the reply is not wanted any more, or not what was decided on."""
    checks = (
        (now["status"] == DraftStatus.SENT and delivery["confirmed_by"] is None, Obstacle("already_sent")),
        (now["suppressed"], Obstacle("lead_suppressed", DraftStatus.SUPPRESSED)),
        (now["newer_inbound"], Obstacle("newer_inbound", DraftStatus.SUPERSEDED)),
        (now["answered"], Obstacle("answered", DraftStatus.SUPERSEDED)),
        (now["meeting_obstacle"] is not None, Obstacle(now["meeting_obstacle"] or "")),
        (delivery["content_sha256"] != sha256_of(delivery["content"]), Obstacle("text_changed")),
    )
    return next((found for stands, found in checks if stands), None)


def obstacle(rim: Rim, delivery: asyncpg.Record, now: asyncpg.Record) -> Obstacle | None:
    """The first thing that stands against the send, as it is now."""
    found = staleness(delivery, now)
    if found is not None or not delivery["automatic"]:
        return found
    policy = (
        (now["send_off"] or rim.is_off(KillSwitch.AUTO_SEND_DISABLED), "switched_off"),
        (now["quarantined"], "quarantined"),
        (now["content_sha256"] != delivery["content_sha256"], "text_changed"),
        (bool(now["hard_blocks"]), "hard_blocked"),
        (now["mode_now"] != Mode.AI_AUTO_SEND, "mode_changed"),
        (now["newer_elsewhere"], "newer_elsewhere"),
        ((now["auto_send_confidence"] or 0.0) < now["threshold_now"], "policy_now_stricter"),
        (
            now["replies_last_hour"] >= now["auto_replies_per_hour_max"]
            or now["replies_last_day"] >= now["auto_replies_per_day_max"],
            "too_many_replies",
        ),
    )
    return next((Obstacle(reason) for stands, reason in policy if stands), None)


def switched_off(rim: Rim, delivery: asyncpg.Record) -> str | None:
    """What needs no fence: switches and the workspace's mode, as they were when the delivery was taken."""
    if not delivery["automatic"]:
        return None
    if delivery["send_off"] or rim.is_off(KillSwitch.AUTO_SEND_DISABLED):
        return "switched_off"
    return "mode_changed" if delivery["mode_now"] != Mode.AI_AUTO_SEND else None
