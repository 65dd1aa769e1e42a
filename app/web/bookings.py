"""`POST /api/bookings`: a meeting that was booked outside is told to us, so that nobody offers its time again."""

from __future__ import annotations

import hmac
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from agents.outside_bookings import UNKNOWN_WORKSPACE, NotRecorded, record_outside_booking
from app.config import Config
from schemas.booking import OutsideBooking

BODY_BYTES_MAX: Final = 16_384
_BEARER: Final = "bearer "


def may_report(config: Config, authorization: str) -> bool:
    """Whether the Authorization header bears the provisioning secret; never when none is set."""
    secret = config.workspace_provisioning_secret
    if not secret or authorization[: len(_BEARER)].lower() != _BEARER:
        return False
    return hmac.compare_digest(authorization[len(_BEARER) :].encode(), secret.encode())


async def book(request: Request) -> JSONResponse:
    """Record, move or cancel a booking: 201 when anything changed, 200 for a repeat, 409 when its time is taken.

    The body is `schemas.booking.OutsideBooking` as JSON. 401 without the secret, 413 and 422 for what is no such body
    (the field is named, its value is not repeated), 404 for an unknown workspace.
    """
    web = request.app.state.web
    if not may_report(web.config, request.headers.get("authorization", "")):
        return _problem(401, "unauthorized")
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
    recorded = await record_outside_booking(web.pool, booking)
    if isinstance(recorded, NotRecorded):
        return _problem(404 if recorded.code == UNKNOWN_WORKSPACE else 409, recorded.code)
    found = {"booking_id": recorded.booking_id, "changed": recorded.changed, "displaced": recorded.displaced}
    return JSONResponse(found, status_code=201 if recorded.changed else 200)


def _problem(status: int, code: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": code, **more}, status_code=status)
