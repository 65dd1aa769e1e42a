"""What an artifact may hold. The one function that bounds a payload to what the database takes."""

import hashlib
import json
import re
from typing import Any

from schemas.limits import PAYLOAD_BYTES_MAX

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# jsonb prints a space after every colon and comma and writes numbers out in full (1e300 becomes 301 digits).
_DEPTH_MAX = 64


def storable_payload(payload: Any) -> Any:
    """`payload` if jsonb takes it within PAYLOAD_BYTES_MAX serialised bytes, else a marker with reason, size and hash.

    The CHECK `payload_fits` measures `octet_length(payload::text)`, so the estimate here is of that text.
    """
    reason = None
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        reason, text = ("nan" if isinstance(error, ValueError) else "too_deep"), repr(type(payload))
    else:
        if "\\u0000" in text or _UNSTORABLE.search(text):
            reason = "unstorable_text"
        elif _jsonb_bytes(payload, text) > PAYLOAD_BYTES_MAX:
            reason = "too_large"
    if reason is None:
        return payload
    raw = text.encode("utf-8", "surrogatepass")
    return {"omitted": reason, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _jsonb_bytes(payload: Any, text: str) -> int:
    """An upper bound of the bytes of the payload's jsonb text: json's own length plus what exponents unfold to."""
    return len(text.encode()) + sum(_unfolded(number) for number in _floats(payload, 0))


def _unfolded(number: float) -> int:
    return abs(int(f"{number:e}".partition("e")[2])) if number else 0


def _floats(value: Any, depth: int) -> list[float]:
    if isinstance(value, float):
        return [value]
    if depth > _DEPTH_MAX:
        return []
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [number for child in children for number in _floats(child, depth + 1)]


def storable_text(text: str) -> str | None:
    """`text` if Postgres stores it, else None (the payload's marker then says what it was)."""
    return None if _UNSTORABLE.search(text) else text
