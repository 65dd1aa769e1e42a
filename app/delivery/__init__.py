"""The channels that replies leave by. Each adapter says of a send: sent, definitely not sent, or unknown."""

from collections.abc import Callable, Mapping
from typing import Any

from agents.ports import ChannelAdapter
from app.config import Config
from app.delivery.discard import DiscardAdapter
from app.delivery.mail import parse_mailbox
from app.delivery.smtp import SmtpAdapter
from app.delivery.webhook import WebhookAdapter
from schemas.codes import Channel

__all__ = ["DiscardAdapter", "Pick", "SmtpAdapter", "WebhookAdapter", "adapters"]

Pick = Callable[[str, Mapping[str, Any] | None], ChannelAdapter | None]


def adapters(config: Config) -> Pick:
    """`pick(channel, channel_config)`: the adapter for one channel of one workspace, None when it has none.

    `channel_config` is the workspace's `channels[channel]`, None when absent. `{"adapter": "discard"}` goes before a
    `webhook_url`, that before SMTP, which takes `email` with a sender: the channel's `from`, else SMTP_FROM. A copy of
    each mail goes to the channel's `sent_copy`, where it has one.
    """

    def pick(channel: str, channel_config: Mapping[str, Any] | None) -> ChannelAdapter | None:
        chosen = channel_config or {}
        if chosen.get("adapter") == "discard":
            return DiscardAdapter()
        if url := chosen.get("webhook_url"):
            secret = chosen.get("webhook_secret")
            return WebhookAdapter(str(url), str(secret) if secret else None, config.webhook_allow_private)
        sender = parse_mailbox(chosen.get("from") or config.smtp_from)
        if channel == Channel.EMAIL and config.smtp_url and sender:
            domain = (config.smtp_from or sender.address).rpartition("@")[2]
            return SmtpAdapter(config.smtp_url, sender, domain, parse_mailbox(chosen.get("sent_copy")))
        return None

    return pick
