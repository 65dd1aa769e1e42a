"""What a person was shown when they decided. An approval is bound to it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class Binding:
    """A draft as a person was shown it; hashes are SHA-256, hexadecimal.

    `newest_seq`: ingest sequence of the newest inbound message. `expires_at`: Unix time in seconds. `claims_sha256`: of
    the claims that were shown marked (`claims_sha256_of`), empty for none. `edited_sha256`: of the text of their own in
    which they were shown; empty when it is the draft's.
    """

    draft_id: str
    workspace_id: str
    content_sha256: str
    recipient_sha256: str
    newest_seq: int
    policy_revision: int
    expires_at: float
    claims_sha256: str = ""
    edited_sha256: str = ""

    def columns(self) -> dict[str, Any]:
        """As `review_action.binding` keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> Self:
        """From `review_action.binding`. Raises TypeError when a field without default is missing."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in columns.items() if name in known})


def claims_sha256_of(claims: Iterable[tuple[str, int, int]]) -> str:
    """Hash of claims as rule, start and end; empty for none."""
    told = "\n".join(f"{rule}:{start}:{end}" for rule, start, end in sorted(claims))
    return hashlib.sha256(told.encode()).hexdigest() if told else ""
