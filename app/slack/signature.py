"""Slack's request signature, version v0: HMAC-SHA256 over `v0:TIMESTAMP:BODY` as in Slack's "Verifying requests".

Not slack_sdk's verifier: that one raises on a timestamp that is no number, a signature that is not ASCII and a body
that is not UTF-8. Nothing here remembers a request, so a replay within the window passes: actions must be idempotent.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Final

from schemas.limits import SLACK_SKEW_S_MAX

_TIMESTAMP: Final = re.compile(r"[0-9]{1,15}")


def verify(headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: float) -> bool:
    """True when `body` was signed with one of `secrets` at most `SLACK_SKEW_S_MAX` seconds from `now` (Unix time).

    Never raises; header names in any case; without a secret nothing passes.
    """
    given = {str(name).lower(): str(value) for name, value in headers.items()}
    timestamp = given.get("x-slack-request-timestamp", "")
    signature = given.get("x-slack-signature", "").encode("utf-8", "replace")
    if not _TIMESTAMP.fullmatch(timestamp) or abs(now - int(timestamp)) > SLACK_SKEW_S_MAX:
        return False
    signed = b"v0:" + timestamp.encode() + b":" + body
    matches = [hmac.compare_digest(_sign(secret, signed), signature) for secret in secrets if secret]
    return any(matches)


def _sign(secret: str, signed: bytes) -> bytes:
    return b"v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()
