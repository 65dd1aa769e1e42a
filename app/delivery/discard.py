"""For smoke tests: everything succeeds and nothing leaves."""

from dataclasses import dataclass
from typing import Final

from agents.ports import Capabilities, Outgoing, SendResult, Sent
from schemas.limits import WEBHOOK_KEY_WINDOW_S

CAPABILITIES: Final = Capabilities(key_window_s=WEBHOOK_KEY_WINDOW_S, can_look_up=False)


@dataclass
class DiscardAdapter:
    """The same key always gives the same id, so a repeat is harmless."""

    capabilities: Capabilities = CAPABILITIES

    @property
    def route(self) -> str:
        return "discard"

    async def send(self, outgoing: Outgoing, timeout_s: float) -> SendResult:
        return Sent(f"discard-{outgoing.key}")

    async def look_up(self, outgoing: Outgoing, timeout_s: float) -> SendResult | None:
        return None
