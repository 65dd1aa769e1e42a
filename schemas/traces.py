"""W3C trace context (https://www.w3.org/TR/trace-context/): one trace from a producer's header to the delivery."""

import re
import uuid
from typing import Final

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?:-.*)?"
)


def read_traceparent(header: bytes | str | None) -> str | None:
    """A producer's header as version 00; None for anything else, which might be text and is passed on to nobody."""
    text = header.decode("ascii", "replace") if isinstance(header, bytes) else header
    found = _TRACEPARENT.fullmatch(text or "")
    if found is None:
        return None
    return f"00-{found['trace']}-{found['span']}-{found['flags']}"


def new_traceparent(cause: uuid.UUID) -> str:
    """For a flow whose producer gave none; derived, so that a retry has the same."""
    return f"00-{cause.hex}-{cause.hex[:16]}-01"
