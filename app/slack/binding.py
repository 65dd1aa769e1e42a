"""What a button carries: the draft as it was shown, signed. A late click is refused for what changed."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from itsdangerous import BadData, URLSafeTimedSerializer

_SALT: Final = "draft-pipeline.review"


@dataclass(frozen=True)
class Binding:
    """`newest_seq`: ingest sequence of the newest inbound message; hashes are SHA-256, hexadecimal."""

    draft_id: str
    workspace_id: str
    content_sha256: str
    recipient_sha256: str
    newest_seq: int
    policy_revision: int

    @property
    def draft(self) -> UUID:
        return UUID(self.draft_id)

    def columns(self) -> dict[str, Any]:
        """As `review_action.binding` keeps it."""
        return asdict(self)


def recipient_sha256(recipient: str | None) -> str:
    return hashlib.sha256((recipient or "").encode()).hexdigest()


def seal(binding: Binding, secret: str) -> str:
    """The opaque value of the buttons."""
    return str(URLSafeTimedSerializer(secret, salt=_SALT).dumps(list(asdict(binding).values())))


def unseal(value: str, secrets: tuple[str, ...], age_s_max: float) -> Binding | None:
    """The binding, or None when it is not ours or older than `age_s_max` seconds. Never raises."""
    for secret in secrets:
        try:
            return Binding(*URLSafeTimedSerializer(secret, salt=_SALT).loads(value, max_age=int(age_s_max)))
        except (BadData, TypeError, ValueError):
            continue
    return None
