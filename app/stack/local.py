"""The whole local stack as one context: `async with LocalStack(folder, parts) as stack: stack.env`."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from app.stack.kafka import KafkaServer
from app.stack.postgres import PostgresServer
from app.stack.process import StackError, write_file
from app.stack.slack_server import TOKEN_VARIABLE
from app.stack.stand_in import StandIn

PARTS: Final = ("kafka", "postgres", "model", "mail", "webhook", "slack")
SLACK_CHANNEL: Final = "C0LOCAL"
SLACK_APPROVER: Final = "U0LOCAL"
SMTP_FROM: Final = "support@example.com"
SECRETS: Final = ("openai_key", "slack_token", "slack_signing", "cron", "provisioning", "web")

Part = KafkaServer | PostgresServer | StandIn


class LocalStack:
    """Starts the parts in parallel, stops them all; holds the folder's lock meanwhile.

    :param parts: which parts to run, see `PARTS`; the others' attributes may be used only after they were started.
    :param say: told about each part as it becomes ready.
    """

    def __init__(self, dir: Path, parts: Iterable[str] = PARTS, say: Callable[[str], None] = lambda text: None) -> None:
        self.dir = dir.resolve()
        self.parts = frozenset(parts)
        unknown = self.parts - set(PARTS)
        if unknown:
            raise ValueError(f"unknown part {sorted(unknown)[0]!r}; parts are {', '.join(PARTS)}")
        self._say = say
        self._lock = -1
        self.dir.mkdir(parents=True, exist_ok=True)
        self.secrets = _keep_secrets(self.dir / "secrets.json")
        self.kafka = KafkaServer(self.dir)
        self.postgres = PostgresServer(self.dir)
        self.model = StandIn("model", "app.stack.model_server", self.dir)
        self.mail = StandIn("mail", "app.stack.mailbox", self.dir)
        self.webhook = StandIn("webhook", "app.stack.webhook_sink", self.dir)
        slack_env = {TOKEN_VARIABLE: self.secrets["slack_token"]}
        self.slack = StandIn("slack", "app.stack.slack_server", self.dir, slack_env)

    @property
    def running(self) -> dict[str, Part]:
        """The chosen parts by name."""
        every: dict[str, Part] = {
            "kafka": self.kafka,
            "postgres": self.postgres,
            "model": self.model,
            "mail": self.mail,
            "webhook": self.webhook,
            "slack": self.slack,
        }
        return {name: part for name, part in every.items() if name in self.parts}

    @property
    def env(self) -> dict[str, str]:
        """The variables by which the pipeline finds the chosen parts, and this folder's secrets; no kill switch."""
        known: dict[str, dict[str, str]] = {
            "kafka": {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap},
            "postgres": {"DATABASE_URL": self.postgres.url, "DIRECT_URL": self.postgres.url},
            "model": {"OPENAI_API_KEY": self.secrets["openai_key"], "OPENAI_BASE_URL": f"{self.model.url}/v1"},
            "mail": {"SMTP_URL": f"smtp://{self.mail.address}", "SMTP_FROM": SMTP_FROM},
            "webhook": {"WEBHOOK_SINK_URL": f"{self.webhook.url}/webhook", "WEBHOOK_ALLOW_PRIVATE": "1"},
            "slack": {
                "SLACK_API_URL": f"{self.slack.url}/api/",
                "SLACK_BOT_TOKEN": self.secrets["slack_token"],
                "SLACK_SIGNING_SECRET": self.secrets["slack_signing"],
                "SLACK_CHANNEL": SLACK_CHANNEL,
                "SLACK_APPROVER_IDS": SLACK_APPROVER,
            },
        }
        chosen = {name: value for part in self.running for name, value in known[part].items()}
        ours = {
            "CRON_SECRET": self.secrets["cron"],
            "WORKSPACE_PROVISIONING_SECRET": self.secrets["provisioning"],
            "WEB_SECRET": self.secrets["web"],
        }
        return {**chosen, **ours}

    async def start(self) -> None:
        """Start all chosen parts; when one fails, stop the others and raise its error."""
        self._take_lock()
        try:
            async with asyncio.TaskGroup() as group:
                for name, part in self.running.items():
                    group.create_task(self._start_part(name, part))
        except BaseException as error:
            await self.stop()
            raise (error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error) from None

    async def stop(self) -> None:
        """Stop all parts, whatever happens to one of them, and give the folder free."""
        ended = await asyncio.gather(*(part.stop() for part in self.running.values()), return_exceptions=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        for problem in ended:
            if isinstance(problem, BaseException):
                raise problem

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start_part(self, name: str, part: Part) -> None:
        await part.start()
        self._say(f"{name} is ready")

    def _take_lock(self) -> None:
        """One stack per folder; the lock ends with this process, however it ends."""
        descriptor = os.open(self.dir / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise StackError(f"{self.dir} is in use by another stack") from None
        self._lock = descriptor


def _keep_secrets(file: Path) -> dict[str, str]:
    """The folder's random secrets, made at its first start; one that an older version did not know is added."""
    kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    if kept.keys() < set(SECRETS):
        made = {name: secrets.token_urlsafe(24) for name in SECRETS}
        made |= {"openai_key": f"sk-local-{made['openai_key']}", "slack_token": f"xoxb-local-{made['slack_token']}"}
        kept = made | kept
        write_file(file, json.dumps(kept), 0o600)
    return kept
