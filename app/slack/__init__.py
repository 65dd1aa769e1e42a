"""Slack: signed requests in, messages out. Everything a reviewer sees is built in `blocks`."""

from app.slack.client import Posted, SlackClient, SlackResult
from app.slack.signature import verify

__all__ = ["Posted", "SlackClient", "SlackResult", "verify"]
