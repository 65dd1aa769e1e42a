"""`POST /api/inbound-messages`: messages of leads, and what others answered, from those who have no Kafka client.

One message or a list of them, as plain JSON or as CloudEvents. All are checked before any is sent.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from app.kafka.inbound import BrokerAway, Posting, TooLarge
from app.web.access import Who, require_bearer
from app.web.cloud_events import Given, NotUnderstood, read_request
from app.web.identity import Identity
from db import sql
from db.pool import Pool
from schemas.codes import Role
from schemas.events import InboundMessage, LeadFields
from schemas.limits import INBOUND_RECORD_BYTES_MAX
from schemas.traces import read_traceparent

MESSAGES_MAX: Final = 500
ERRORS_MAX: Final = 100
RETRY_S: Final = 5

router = APIRouter(dependencies=[require_bearer(Role.WORKSPACE_ADMIN, Role.SUPER_ADMIN, Role.OPS)])


@router.post("/api/inbound-messages", status_code=202, max_body_size=INBOUND_RECORD_BYTES_MAX)
async def post_messages(request: Request, who: Who) -> JSONResponse:
    """Put messages onto `inbound-message`; 202 when the broker has them, with topic, partition and offset of each.

    The fields are those of the topic's contract. 400 for what is no JSON or no CloudEvent, 404 for a workspace that is
    unknown or not the token's, 413 for more than 8 MiB or 500 messages, 415 for another content type, 422 with a line
    for each field that is wrong; of a batch with a mistake nothing is sent. 503 when the broker does not answer: send
    the same again, a repeat of a `message_id` is dropped.
    """
    web = request.app.state.web
    try:
        given, batch = read_request(request.headers, await request.body())
    except NotUnderstood as error:
        return JSONResponse({"error": error.code, "field": error.field}, error.status)
    if len(given) > MESSAGES_MAX:
        return JSONResponse({"error": "too_many_messages", "max": MESSAGES_MAX}, 413)
    messages, errors = _checked(given)
    if errors:
        return JSONResponse({"error": "invalid", "errors": errors[:ERRORS_MAX]}, 422)
    unknown = await _unknown_workspaces(web.pool, who, messages)
    if unknown:
        return JSONResponse({"error": "unknown_workspace", "indexes": unknown[:ERRORS_MAX]}, 404)
    trace = read_traceparent(request.headers.get("traceparent"))
    traced = {"traceparent": trace} if trace else {}
    try:
        landed = await web.inbound.send(
            [Posting(message, {**each.headers, **traced}) for message, each in zip(messages, given, strict=True)]
        )
    except TooLarge:
        return JSONResponse({"error": "too_large"}, 413)
    except BrokerAway:
        return JSONResponse({"error": "broker_away"}, 503, {"Retry-After": str(RETRY_S)})
    accepted = [
        {"message_id": message.message_id, "topic": place.topic, "partition": place.partition, "offset": place.offset}
        for message, place in zip(messages, landed, strict=True)
    ]
    return JSONResponse({"accepted": accepted} if batch else accepted[0], 202)


def _checked(given: list[Given]) -> tuple[list[InboundMessage], list[dict[str, Any]]]:
    """The messages, and a line for each field that is wrong: where it is and how, never its value."""
    messages, errors = [], []
    for index, each in enumerate(given):
        try:
            messages.append(InboundMessage.model_validate(each.value))
        except ValidationError as error:
            for mistake in error.errors(include_input=False, include_url=False, include_context=False):
                field = field_of(mistake["loc"])
                errors.append({"index": index, "field": field, "code": mistake["type"], "problem": mistake["msg"]})
    return messages, errors


def field_of(location: tuple[Any, ...]) -> str:
    """The name of a field of ours; what a sender called something is not repeated."""
    first, *rest = location or ("body",)
    if first not in InboundMessage.model_fields:
        return "body"
    return f"lead.{rest[0]}" if first == "lead" and rest and rest[0] in LeadFields.model_fields else str(first)


async def _unknown_workspaces(pool: Pool, who: Identity, messages: list[InboundMessage]) -> list[int]:
    """Which messages are for a workspace that does not exist, or not for whoever asks."""
    wanted = sorted({message.workspace_id for message in messages})
    rows = await sql.ingest.known_workspaces.rows(pool, workspace_ids=wanted)
    known = {row["id"] for row in rows}
    return [
        index
        for index, message in enumerate(messages)
        if message.workspace_id not in known or not who.may_see(message.workspace_id)
    ]
