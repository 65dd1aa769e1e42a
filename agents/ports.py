"""What judgement needs from the rim: a model, a channel to send on. The rim implements these."""

from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from agents.state import Ask
from schemas.answers import Answer
from schemas.settings import ModelChoice


@dataclass(frozen=True)
class Usage:
    """Tokens as the provider counted them, latency in milliseconds, cost in USD (None: price unknown, never 0)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    latency_ms: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True)
class Answered:
    answer: Answer
    usage: Usage


@dataclass(frozen=True)
class Unusable:
    """The model answered, but that is no answer: it does not parse, was refused, cut off or out of range."""

    code: str
    usage: Usage


@dataclass(frozen=True)
class Failed:
    """The request may have been worked on: 500, time-out, cut connection. `retryable` is False for a bad request."""

    code: str
    usage: Usage
    retryable: bool = True


@dataclass(frozen=True)
class Refused:
    """Definitely no work was done: 429, 503, a connection that never opened."""

    code: str
    usage: Usage
    retry_after_s: float | None = None


ModelResult = Answered | Unusable | Failed | Refused


@dataclass(frozen=True)
class CallIdentity:
    """What the X-Draft-* headers carry."""

    call_id: UUID
    run_id: UUID


class ModelPort(Protocol):
    async def call(self, ask: Ask, choice: ModelChoice, identity: CallIdentity, timeout_s: float) -> ModelResult:
        """One request, one attempt, never raises for what a server or network does. `timeout_s` bounds all of it."""
        ...

    def worst_case_usd(self, ask: Ask, choice: ModelChoice) -> float | None:
        """The most this call can cost, or None when the price is unknown."""
        ...

    async def available(self, model: str) -> None:
        """Return when the model's circuit breaker lets a call through (at once when it is closed)."""
        ...

    def is_down(self, model: str) -> bool:
        """True while the breaker is open or trying."""
        ...

    @property
    def known_models(self) -> frozenset[str]: ...


@dataclass(frozen=True)
class Outgoing:
    """A reply on its way out. `key` is the idempotency key, the same for every attempt of one delivery."""

    key: str
    draft_id: UUID
    workspace_id: str
    channel: str
    recipient: str | None
    text: str
    subject: str | None
    thread_id: str
    in_reply_to: str | None
    references: tuple[str, ...]
    automatic: bool
    config: dict[str, object]
    traceparent: str | None = None


@dataclass(frozen=True)
class Sent:
    provider_message_id: str


@dataclass(frozen=True)
class SendRefused:
    """Definitely not sent. A temporary refusal (SMTP 4xx, HTTP 429 or 503) may be tried again."""

    code: str
    temporary: bool
    retry_after_s: float | None = None


LOOK_UP_FAILED: Final = "look_up_failed"


@dataclass(frozen=True)
class SendUnknown:
    """The request went out and nothing certain came back."""

    code: str


SendResult = Sent | SendRefused | SendUnknown


@dataclass(frozen=True)
class Capabilities:
    """`key_window_s`: how long the provider refuses to do the same key twice; 0 when it does not."""

    key_window_s: float = 0.0
    can_look_up: bool = False


class ChannelAdapter(Protocol):
    capabilities: Capabilities

    @property
    def route(self) -> str:
        """Which provider it hands over to. What became of a send can be asked there only."""
        ...

    async def send(self, outgoing: Outgoing, timeout_s: float) -> SendResult: ...

    async def look_up(self, outgoing: Outgoing, timeout_s: float) -> SendResult | None:
        """What became of the key: Sent, SendRefused (surely not sent), SendUnknown(LOOK_UP_FAILED) when the provider
        cannot be asked now, or None when it does not tell."""
        ...
