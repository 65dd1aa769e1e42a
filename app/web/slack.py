"""`POST /webhooks/slack/interactions`: a click is verified, written to Postgres with its event, then answered.

Slack waits 3 seconds. What needs Slack itself (opening a form, a word to whoever clicked) follows in a task of its own;
what is decided is carried out by a worker.
"""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg
import orjson
import structlog
from fastapi import APIRouter, Request, Response

from agents.approval import blocks_of, forbidding, with_edit
from agents.draft import blocks_as_rows
from agents.persist import TRANSIENT
from app.config import Config
from app.relay import Relay
from app.review.recording import Decision, problem_of, record, unchanged_is_approved
from app.review.refusal import Refusal, changes_since, state_of
from app.review.sealing import seal
from app.review.words import places, refusal_in_words
from app.slack.blocks import (
    EDIT,
    INPUT_ID,
    REJECT,
    SlackMessage,
    edit_view,
    editable,
    refused_message,
    reject_view,
    told_message,
)
from app.slack.client import Posted, SlackClient
from app.slack.posting import link_to
from app.slack.signature import verify
from app.web.access import public
from app.web.interactions import Click, may_decide, packed, read_click
from db import sql
from db.pool import Pool
from schemas.codes import DraftStatus, ReviewAction
from schemas.limits import SLACK_ANSWER_S_MAX, SLACK_REQUEST_BYTES_MAX

log = structlog.get_logger()
router = APIRouter(include_in_schema=False)

Answer = dict[str, Any] | None

# Slack's trigger is good for 3 s, of which the way here took some.
_FORM_S_MAX: Final = 2.5
_OPEN: Final = (DraftStatus.PENDING, DraftStatus.SCHEDULED, DraftStatus.UNKNOWN)
_NOT_SAVED: Final = "This could not be saved: the database does not answer. Nothing was done. Please try again."
_NOT_YOURS: Final = "You are not on the list of those who may decide for this workspace. Nothing was done."
_OUTDATED: Final = "This button is too old to be checked. Nothing was done. Open the page of the draft to decide."


class Shared(Protocol):
    """What the web process has for its routes."""

    config: Config
    pool: Pool
    relay: Relay
    slack: SlackClient | None
    tasks: set[asyncio.Task[None]]


@router.post("/webhooks/slack/interactions", dependencies=[public("Slack signs its requests")])
async def slack_interaction(request: Request) -> Response:
    """Verify, write, answer 200. Forged or stale: 401. Too large: 413. What we do not know: 400."""
    web: Shared = request.app.state.web
    until = asyncio.get_running_loop().time() + SLACK_ANSWER_S_MAX
    try:
        async with asyncio.timeout_at(until):
            body = await _bounded_body(request)
    except TimeoutError:
        return Response(status_code=408)
    if body is None:
        return Response(status_code=413)
    if not verify(request.headers, body, web.config.slack_signing_secrets, time.time()):
        return Response(status_code=401)
    click = read_click(body, web.config)
    if click is None:
        return Response(status_code=400)
    answer = await Clicks(web).answer(click, until)
    return Response(orjson.dumps(answer) if answer else b"", media_type="application/json" if answer else None)


async def _bounded_body(request: Request) -> bytes | None:
    if int(request.headers.get("content-length") or 0) > SLACK_REQUEST_BYTES_MAX:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > SLACK_REQUEST_BYTES_MAX:
            return None
    return bytes(body)


class Clicks:
    """Answers clicks. In a form, an answer is what the form shows; else whoever clicked is told by a message."""

    def __init__(self, web: Shared) -> None:
        self._web = web

    async def answer(self, click: Click, until: float) -> Answer:
        """The body of the 200, at the latest at `until` (time of the loop)."""
        try:
            async with asyncio.timeout_at(until):
                return await self._answer(click)
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("slack_click_not_saved", error_class=type(error).__name__, slack_user_id=click.user)
            return self._say(click, _NOT_SAVED)

    async def _answer(self, click: Click) -> Answer:
        if click.binding is None:
            return self._say(click, _OUTDATED)
        draft_id = UUID(click.binding.draft_id)
        standing = await sql.review.review_standing.row(self._web.pool, draft_id=draft_id)
        if standing is None or not may_decide(standing, self._web.config, click):
            log.warning("slack_click_refused", draft_id=click.binding.draft_id, slack_user_id=click.user)
            return self._say(click, _NOT_YOURS)
        if click.opens_form:
            self._later(self._open_form(click, draft_id, standing))
            return None
        decision = Decision(
            binding=click.binding,
            action=ReviewAction(click.action),
            actor=click.user,
            via="slack",
            text=click.text,
            response_url=click.response_url,
        )
        problem = problem_of(decision)
        if problem is not None:
            return self._say(click, problem)
        decision = unchanged_is_approved(decision)
        if decision.action is ReviewAction.EDIT:
            checked = await self._checked(click, decision)
            if not isinstance(checked, Decision):
                return checked
            decision = checked
        return await self._record(click, decision)

    async def _record(self, click: Click, decision: Decision) -> Answer:
        recorded = await record(self._web.pool, decision)
        if recorded is None:
            return self._say(click, "The draft is gone. Nothing was done.")
        self._web.relay.publish(recorded.rows)
        if not recorded.rows:
            self._later(self._tell_state(click, decision.draft_id))
        return None

    async def _checked(self, click: Click, decision: Decision) -> Decision | Answer:
        """An edited text to record, or what the form says: what nobody may send, or what must be looked at first."""
        text = decision.text or ""
        blocks = await blocks_of(self._web.pool, decision.draft_id, text)
        if blocks is None:
            return _error(f"Not sent: {refusal_in_words('context_gone')}.")
        told = places(text, blocks_as_rows(blocks))
        shown = replace(decision, binding=with_edit(decision.binding, text, blocks))
        if forbidding(blocks, shown.binding, text, edited=True) is not None:
            return _error(f"This cannot be sent. {' '.join(told)}"[:2_000])
        if forbidding(blocks, decision.binding, text, edited=True) is None:
            return shown
        sealed = seal(shown.binding, self._web.config.slack_signing_secrets[0])
        return {"response_action": "update", "view": edit_view(packed(sealed, click.response_url), text, told)}

    async def _open_form(self, click: Click, draft_id: UUID, standing: asyncpg.Record) -> None:
        """The form, or why there is none: what changed since the message was posted."""
        now = await sql.delivery.send_standing.row(self._web.pool, draft_id=draft_id)
        if now is None or click.binding is None or self._web.slack is None:
            return
        stale = await changes_since(self._web.pool, click.binding, now) if click.action == EDIT else []
        if stale or now["status"] not in _OPEN:
            words = (
                "There is nothing to decide any more." if now["status"] not in _OPEN else "This is not as it was shown."
            )
            refusal = Refusal(words, await state_of(self._web.pool, draft_id), tuple(stale))
            await self._tell(click, refused_message(refusal, draft_id, link_to(self._web.config, draft_id)))
            return
        text, metadata = standing["content"] or "", packed(click.sealed, click.response_url)
        if click.action == EDIT and not editable(text):
            words = "The draft is too long for a form of Slack. Open it to edit it."
            await self._tell(click, told_message(words, draft_id, link_to(self._web.config, draft_id)))
            return
        view = reject_view(metadata) if click.action == REJECT else edit_view(metadata, text)
        opened = await self._web.slack.open_view(click.trigger_id or "", view, _FORM_S_MAX)
        if not isinstance(opened, Posted):
            log.warning("slack_form_failed", draft_id=str(draft_id), code=opened.code)
            words = "Slack did not open the form. Please click again."
            await self._tell(click, told_message(words, draft_id, link_to(self._web.config, draft_id)))

    async def _tell_state(self, click: Click, draft_id: UUID) -> None:
        """Clicked again: nothing is done, and the state is shown."""
        words = await state_of(self._web.pool, draft_id)
        words = f"You decided this before. {words}"
        await self._tell(click, told_message(words, draft_id, link_to(self._web.config, draft_id)))

    def _say(self, click: Click, words: str) -> Answer:
        """In the form, else as a message to whoever clicked."""
        if click.in_form:
            return _error(words)
        self._later(self._tell(click, told_message(words, None, "")))
        return None

    async def _tell(self, click: Click, message: SlackMessage) -> None:
        if self._web.slack is None or click.response_url is None:
            return
        result = await self._web.slack.respond(click.response_url, message, replace=False)
        if not isinstance(result, Posted):
            log.warning("slack_tell_failed", slack_user_id=click.user, code=result.code)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """After the answer; the process keeps hold of it."""

        async def run() -> None:
            try:
                await work
            except Exception as error:
                log.warning("slack_answer_failed", exc_info=error)

        task = asyncio.create_task(run())
        self._web.tasks.add(task)
        task.add_done_callback(self._web.tasks.discard)


def _error(words: str) -> Answer:
    """Shown under the field of the form, which stays open with what was written."""
    return {"response_action": "errors", "errors": {INPUT_ID: words}}
