"""Open review requests become Slack messages, one per draft; decided ones are updated. Slack may fail."""

import asyncio
from typing import Final

import asyncpg
import structlog

from agents.persist import TRANSIENT
from app.config import Config
from app.slack.binding import Binding, recipient_sha256, seal
from app.slack.blocks import Review, decided_message, review_message
from app.slack.client import Posted, SlackClient
from app.slack.words import in_words
from db import sql
from db.pool import Pool

log = structlog.get_logger()

_TICK_S: Final = 1.0
_BATCH: Final = 20


def _reason(code: str, shown: asyncpg.Record) -> str:
    """The reason in words, and the places of the text that a rule objects to."""
    text = shown["content"] or ""
    places = [
        f"{block['rule']}: “{text[block['start'] : block['end']]}”"
        for block in shown["hard_blocks"]
        if block["end"] > 0
    ]
    return " ".join([in_words(code), *places])


class SlackPosting:
    """Posts and updates until cancelled. Does nothing without a bot token and a signing secret."""

    def __init__(self, config: Config, pool: Pool) -> None:
        self._config, self._pool = config, pool
        self._client = SlackClient(config) if config.slack_bot_token and config.slack_signing_secrets else None

    async def run(self) -> None:
        if self._client is None:
            return
        try:
            while True:
                try:
                    await self.post_open(self._client)
                    await self.update_closed(self._client)
                except (*TRANSIENT, asyncpg.PostgresError) as error:
                    log.warning("slack_waits_for_database", error_class=type(error).__name__)
                await asyncio.sleep(_TICK_S)
        finally:
            await self._client.close()

    async def post_open(self, client: SlackClient) -> None:
        """Post requests that Slack has not seen."""
        for request in await sql.review.take_unposted_reviews.rows(self._pool, limit=_BATCH):
            shown = await sql.review.review_standing.row(self._pool, draft_id=request["draft_id"])
            channel = (shown["slack_channel"] if shown else None) or self._config.slack_channel
            if shown is None or not channel:
                continue
            posted = await client.post(channel, review_message(self._review(request, shown)))
            if isinstance(posted, Posted):
                await sql.review.set_slack_message.run(
                    self._pool, review_id=request["id"], slack_channel=posted.channel, slack_ts=posted.ts
                )
            else:
                log.warning("slack_post_failed", draft_id=str(request["draft_id"]), code=posted.code)

    def _review(self, request: asyncpg.Record, shown: asyncpg.Record) -> Review:
        binding = Binding(
            str(request["draft_id"]),
            request["workspace_id"],
            shown["content_sha256"] or "",
            recipient_sha256(shown["recipient"]),
            shown["newest_seq"],
            shown["policy_now"],
        )
        return Review(
            draft_id=request["draft_id"],
            workspace_name=shown["workspace_name"],
            channel=shown["channel"],
            recipient=shown["recipient"],
            reason=_reason(request["reason"], shown),
            confidence=shown["auto_send_confidence"],
            threshold=shown["auto_send_threshold"],
            text=shown["content"] or "",
            link=self._link(str(request["draft_id"])),
            binding=seal(binding, self._config.slack_signing_secrets[0]),
        )

    def _link(self, draft_id: str) -> str:
        return f"{self._config.public_url.rstrip('/')}/drafts/{draft_id}"

    async def update_closed(self, client: SlackClient) -> None:
        """A decided draft's message tells who decided what, and offers no buttons any more."""
        for closed in await sql.review.take_closed_reviews.rows(self._pool, limit=_BATCH):
            who = f" by <@{closed['actor']}>" if closed["via"] == "slack" else ""
            what = f"{closed['result'] or closed['draft_status']}{who}"
            message = decided_message(closed["draft_id"], what, self._link(str(closed["draft_id"])))
            updated = await client.update(closed["slack_channel"], closed["slack_ts"], message)
            if not isinstance(updated, Posted):
                log.warning("slack_update_failed", draft_id=str(closed["draft_id"]), code=updated.code)
