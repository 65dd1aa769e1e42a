"""What Slack is told of reviews: open ones as messages, closed ones as updates, expiries, and refusals to who clicked.

Slack may fail: what it does not take is tried again later, and the web queue has it anyway.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import structlog

from agents.draft import blocks_as_rows
from agents.persist import TRANSIENT
from agents.ports import SendRefused
from app.config import Config
from app.review.refusal import refusal_of
from app.review.sealing import seal
from app.review.showing import Shown, shown
from app.review.words import RESULTS, STATUSES, in_words, places
from app.slack.blocks import (
    Decided,
    Review,
    decided_message,
    expired_message,
    refused_message,
    review_message,
    short_review_message,
)
from app.slack.client import Posted, SlackClient, SlackResult
from db import sql
from db.pool import Pool
from schemas.codes import DraftStatus
from schemas.limits import SLACK_RESPONSE_URL_S_MAX, SLACK_RETRY_BASE_S, SLACK_RETRY_CAP_S

log = structlog.get_logger()

_TICK_S: Final = 1.0
_BATCH: Final = 20
_TAKEN_S: Final = 60.0  # longer than the calls that one row may need, three of CALL_S_MAX
_TOLD_S_MAX: Final = 3_600.0
# Slack does not take the draft as it is. Its other refusals are about channel, token or rate.
_TOO_MUCH: Final = frozenset({"msg_too_long", "msg_blocks_too_long", "invalid_blocks", "invalid_blocks_format"})


def link_to(config: Config, draft_id: object) -> str:
    """The page of a draft."""
    return f"{config.public_url.rstrip('/')}/drafts/{draft_id}"


def retry_s(result: SlackResult, attempts: int) -> float:
    """How long to leave Slack alone with something it did not take."""
    backoff = min(SLACK_RETRY_CAP_S, SLACK_RETRY_BASE_S * 2.0 ** min(attempts - 1, 10))
    asked = result.retry_after_s if isinstance(result, SendRefused) else None
    return backoff if asked is None else max(asked, 1.0)


class SlackPosting:
    """Posts and updates until cancelled. Does nothing without a bot token and a signing secret."""

    def __init__(self, config: Config, pool: Pool) -> None:
        self._config, self._pool = config, pool
        self._client = SlackClient(config) if config.slack_bot_token and config.slack_signing_secrets else None
        self._team = ""

    async def run(self) -> None:
        if self._client is None:
            return
        try:
            while True:
                try:
                    await self.tick(self._client)
                except (*TRANSIENT, asyncpg.PostgresError) as error:
                    log.warning("slack_waits_for_database", error_class=type(error).__name__)
                await asyncio.sleep(_TICK_S)
        finally:
            await self._client.close()

    async def tick(self, client: SlackClient) -> None:
        """Everything that Slack is to be told now."""
        await self.update_closed(client)
        await self.tell_refused(client)
        await self.tell_expired(client)
        await self.post_open(client)

    # ---- open requests

    async def post_open(self, client: SlackClient) -> None:
        """Post requests that Slack has not seen. Not before it is known which team the token is for."""
        if not self._team and not await self._learn_team(client):
            return
        async for request in self._one_by_one(sql.review.take_unposted_reviews):
            draft = await shown(self._pool, request["draft_id"])
            channel = (draft.standing["slack_channel"] if draft else None) or self._config.slack_channel
            if draft is None or not channel or draft.standing["slack_team_id"] not in (None, self._team):
                if channel and draft is not None:
                    log.warning("slack_foreign_team", workspace_id=request["workspace_id"])
                await self._postpone(request["id"], SLACK_RETRY_CAP_S)
                continue
            await self._retire_previous(client, request)
            await self._post(client, channel, request, self._review(request, draft))

    async def _one_by_one(self, take: sql.Query, **arguments: float) -> AsyncIterator[asyncpg.Record]:
        """Rows to be told now, each taken when its turn comes: together, the last ones would be another worker's again
        while a slow Slack is still told of the first."""
        for _ in range(_BATCH):
            row = await take.row(self._pool, limit=1, taken_s=_TAKEN_S, **arguments)
            if row is None:
                return
            yield row

    async def _learn_team(self, client: SlackClient) -> bool:
        result = await client.team()
        if not isinstance(result, Posted) or not result.team:
            log.warning("slack_auth_failed", code="no_team" if isinstance(result, Posted) else result.code)
            return False
        self._team = result.team
        return True

    async def _post(self, client: SlackClient, channel: str, request: asyncpg.Record, review: Review) -> None:
        posted = await client.post(channel, review_message(review))
        if isinstance(posted, SendRefused) and posted.code in _TOO_MUCH:
            posted = await client.post(channel, short_review_message(review))
        if isinstance(posted, Posted):
            await sql.review.set_slack_message.run(
                self._pool,
                review_id=request["id"],
                slack_channel=posted.channel,
                slack_ts=posted.ts,
                slack_team_id=self._team,
            )
        else:
            log.warning("slack_post_failed", draft_id=str(request["draft_id"]), code=posted.code)
            await self._postpone(request["id"], retry_s(posted, request["slack_attempts"]))

    async def _retire_previous(self, client: SlackClient, request: asyncpg.Record) -> None:
        """A message of the same draft that still has buttons loses them: there will be a newer one."""
        if request["slack_previous_ts"] is None:
            return
        message = decided_message(
            request["draft_id"], Decided("Asked again: see the newer message"), self._link(request)
        )
        await client.update(request["slack_channel"], request["slack_previous_ts"], message)

    def _review(self, request: asyncpg.Record, draft: Shown) -> Review:
        standing = draft.standing
        return Review(
            draft_id=request["draft_id"],
            workspace_name=standing["workspace_name"] or request["workspace_id"],
            channel=standing["channel"],
            recipient=standing["recipient"],
            reason=in_words(request["reason"]),
            confidence=standing["auto_send_confidence"],
            threshold=standing["auto_send_threshold"],
            text=draft.text,
            link=self._link(request),
            binding=seal(draft.binding, self._config.slack_signing_secrets[0]),
            places=tuple(places(draft.text, blocks_as_rows(draft.blocks or ()))),
            forbidden=draft.forbidden,
            maybe_sent=standing["status"] == DraftStatus.UNKNOWN,
        )

    async def _postpone(self, review_id: object, seconds: float) -> None:
        await sql.review.postpone_slack.run(self._pool, review_id=review_id, retry_s=seconds)

    def _link(self, row: asyncpg.Record) -> str:
        return link_to(self._config, row["draft_id"])

    # ---- closed requests

    async def update_closed(self, client: SlackClient) -> None:
        """A closed request's message tells who decided what and when, and offers no buttons any more."""
        take = sql.review.take_closed_reviews
        async for closed in self._one_by_one(take, response_s=SLACK_RESPONSE_URL_S_MAX):
            message = decided_message(closed["draft_id"], decided_of(closed), self._link(closed))
            result = await client.update(closed["slack_channel"], closed["slack_ts"], message)
            if not isinstance(result, Posted) and closed["response_url"]:
                log.warning("slack_update_failed", draft_id=str(closed["draft_id"]), code=result.code)
                result = await client.respond(closed["response_url"], message)
            if isinstance(result, Posted) or (isinstance(result, SendRefused) and not result.temporary):
                await sql.review.mark_slack_updated.run(self._pool, review_id=closed["id"], draft_id=closed["draft_id"])
            if not isinstance(result, Posted):
                log.warning("slack_update_failed", draft_id=str(closed["draft_id"]), code=result.code)
                await self._postpone(closed["id"], retry_s(result, closed["slack_attempts"]))

    async def tell_expired(self, client: SlackClient) -> None:
        """A workspace learns that nobody decided in time: an update alone tells nobody."""
        async for expired in self._one_by_one(sql.review.take_untold_expiries):
            message = expired_message(
                expired["draft_id"],
                expired["workspace_name"] or expired["workspace_id"],
                expired["created_at"],
                self._link(expired),
            )
            result = await client.post(expired["slack_channel"], message)
            if isinstance(result, Posted) or (isinstance(result, SendRefused) and not result.temporary):
                await sql.review.mark_expiry_told.run(self._pool, review_id=expired["id"])
            else:
                await self._postpone(expired["id"], retry_s(result, expired["slack_attempts"]))

    # ---- refused clicks

    async def tell_refused(self, client: SlackClient) -> None:
        """Whoever clicked too late learns what changed, and how the draft stands now."""
        for action in await sql.review.take_untold_refusals.rows(self._pool, limit=_BATCH, told_s=_TOLD_S_MAX):
            refusal = await refusal_of(self._pool, action)
            if refusal is None:
                continue
            message = refused_message(refusal, action["draft_id"], self._link(action))
            result: SlackResult = SendRefused("channel_not_found", temporary=False)
            if action["slack_channel"]:
                result = await client.tell(action["slack_channel"], action["actor"], message)
            if not isinstance(result, Posted) and action["response_url"]:
                result = await client.respond(action["response_url"], message, replace=False)
            if not isinstance(result, Posted):
                log.warning("slack_tell_failed", draft_id=str(action["draft_id"]), code=result.code)


def decided_of(closed: asyncpg.Record) -> Decided:
    """What ended a request: what a person did, else what became of the draft."""
    if closed["status"] == "decided" and closed["result"] is not None:
        return Decided(RESULTS.get(closed["result"], closed["result"]), closed["actor"], closed["acted_at"])
    if closed["status"] == "expired":
        return Decided("Nobody decided in time", None, closed["closed_at"])
    return Decided(STATUSES.get(closed["draft_status"], closed["draft_status"]).rstrip("."), None, closed["closed_at"])
