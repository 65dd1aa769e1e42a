"""What an artifact may hold. The one function that bounds a payload to what the database takes."""

import hashlib
import json
import re
from typing import Any

from schemas.limits import PAYLOAD_BYTES_MAX

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_DEPTH_MAX = 64
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1  # what the driver's encoder takes


def storable_payload(payload: Any) -> Any:
    """`payload` if jsonb takes it within PAYLOAD_BYTES_MAX serialised bytes, else a marker with reason, size and hash.

    The CHECK `payload_fits` measures `octet_length(payload::text)`, so the estimate here is of that text.
    """
    try:
        extra_bytes = _unfolding_bytes(payload, 0)
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError, OverflowError) as error:
        return _marker("too_deep" if isinstance(error, RecursionError) else "bad_number", repr(type(payload)))
    if "\\u0000" in text or _UNSTORABLE.search(text):
        return _marker("unstorable_text", text)
    if len(text.encode()) + extra_bytes > PAYLOAD_BYTES_MAX:
        return _marker("too_large", text)
    return payload


def _marker(reason: str, text: str) -> dict[str, Any]:
    raw = text.encode("utf-8", "surrogatepass")
    return {"omitted": reason, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _unfolding_bytes(value: Any, depth: int) -> int:
    """How much longer than json's the jsonb text may be: it writes numbers out in full (1e300 has 301 digits).

    Raises RecursionError beyond _DEPTH_MAX and OverflowError for an integer that is too large.
    """
    if isinstance(value, float):
        return abs(int(f"{value:e}".partition("e")[2])) if value and value - value == 0 else 0
    if isinstance(value, int) and not _INTEGER_MIN <= value <= _INTEGER_MAX:
        raise OverflowError
    if not isinstance(value, dict | list):
        return 0
    if depth >= _DEPTH_MAX:
        raise RecursionError
    children = value.values() if isinstance(value, dict) else value
    return sum(_unfolding_bytes(child, depth + 1) for child in children)


def storable_text(text: str) -> str | None:
    """`text` if Postgres stores it, else None (the payload's marker then says what it was)."""
    return None if _UNSTORABLE.search(text) else text
