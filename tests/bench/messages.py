"""The messages of the bench: one lead each, all of one size, with a marker that tells the scripted model what to think.

The model can be slow by stage only. So a message that is to meet a slow stage is one of which only that stage is asked:
`SCHEDULING` messages reach the meeting overseer, `NEVER` ones the selector of the revision, standard ones neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

WORKSPACES: Final = tuple(f"bench-{number}" for number in range(1, 6))
_BODY: Final = (
    "Hello, I bought one of your products last week and it arrived with a part that does not fit. I tried it twice and"
    " looked at the paper that came with it, but I could not find out what I am doing wrong. Could you tell me what to"
    " do next, or whether I should send it back to you? I would rather keep it. Thank you and kind regards."
)
CONFIDENT: Final = f"{_BODY} !!confident"
NEVER: Final = f"{_BODY} !!never"
SCHEDULING: Final = f"{_BODY} Or can we find an appointment? !!confident"


@dataclass(frozen=True)
class Message:
    """An inbound record of a lead that wrote nothing else."""

    number: int
    text: str = CONFIDENT

    @property
    def id(self) -> str:
        return f"bench-message-{self.number}"

    @property
    def workspace(self) -> str:
        return WORKSPACES[self.number % len(WORKSPACES)]

    @property
    def key(self) -> bytes:
        return f"bench-lead-{self.number}".encode()

    def value(self) -> bytes:
        """The record's bytes, received now."""
        return orjson.dumps(
            {
                "schema_version": 1,
                "message_id": self.id,
                "workspace_id": self.workspace,
                "lead_id": self.key.decode(),
                "channel": "chat",
                "received_at": datetime.now(UTC).isoformat(),
                "body": f"{self.text} ({self.number})",
                "thread_id": f"thread-{self.number}",
            }
        )
