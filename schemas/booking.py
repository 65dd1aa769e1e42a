"""A meeting that was booked outside, as others report it."""

from datetime import timedelta
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, model_validator

from schemas.events import Identifier

BOOKING_H_MAX: Final = 24 * 7
YEAR_MIN: Final = 2000
YEAR_MAX: Final = 2200


class OutsideBooking(BaseModel):
    """`external_id` is its name in the other system, unique in the workspace; times are RFC 3339 with an offset."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
    workspace_id: Identifier
    lead_id: Identifier
    external_id: Identifier
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    status: Literal["confirmed", "cancelled"] = "confirmed"

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "OutsideBooking":
        if not YEAR_MIN <= self.starts_at.year <= YEAR_MAX:
            raise ValueError(f"starts_at must lie in the years {YEAR_MIN} to {YEAR_MAX}")
        if not timedelta(0) < self.ends_at - self.starts_at <= timedelta(hours=BOOKING_H_MAX):
            raise ValueError(f"ends_at must come after starts_at, by at most {BOOKING_H_MAX} hours")
        return self
