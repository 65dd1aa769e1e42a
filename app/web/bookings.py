"""`POST /api/bookings`: a meeting that was booked outside is told to us, so that nobody offers its time again."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from agents.outside_bookings import UNKNOWN_WORKSPACE, NotRecorded, record_outside_booking
from app.web.access import Who, require_bearer
from schemas.booking import OutsideBooking
from schemas.codes import Role

BODY_BYTES_MAX: Final = 16_384

router = APIRouter(dependencies=[require_bearer(Role.WORKSPACE_ADMIN, Role.SUPER_ADMIN)])


@router.post("/api/bookings", status_code=201)
async def book(request: Request, who: Who) -> JSONResponse:
    """Record, move or cancel a booking: 201 when anything changed, 200 for a repeat, 409 when its time is taken.

    The body is `schemas.booking.OutsideBooking` as JSON. 401 and 403 without a token of the
    workspace's admin or a super-admin, 413 and 422 for what is no such body
    (the field is named, its value is not repeated), 404 for a workspace that is unknown or not theirs.
    """
    web = request.app.state.web
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return _problem(413, "too_large")
    try:
        booking = OutsideBooking.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or "body"
        return _problem(422, "invalid", field=field if field in OutsideBooking.model_fields else "body")
    if not who.may_see(booking.workspace_id):
        return _problem(404, UNKNOWN_WORKSPACE)
    recorded = await record_outside_booking(web.pool, booking)
    if isinstance(recorded, NotRecorded):
        return _problem(404 if recorded.code == UNKNOWN_WORKSPACE else 409, recorded.code)
    found = {"booking_id": recorded.booking_id, "changed": recorded.changed, "displaced": recorded.displaced}
    return JSONResponse(found, status_code=201 if recorded.changed else 200)


def _problem(status: int, code: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": code, **more}, status_code=status)
