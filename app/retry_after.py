"""The Retry-After header, which the model server, webhooks and Slack use alike."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from schemas.limits import RETRY_AFTER_S_MAX


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds it asks for (RFC 9110: a number or a date), within 0..`RETRY_AFTER_S_MAX`; None without a usable one.

    `headers` must look names up in any case.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX) if math.isfinite(seconds) else None
