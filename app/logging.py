"""Log lines that cannot carry personal data: JSON on stderr, keys from one catalogue, exceptions without message.

Exception texts hold addresses and message bodies (asyncpg `Key (email)=(...)`, pydantic `input_value=...`), and so do
the arguments of other people's log calls. So neither is ever printed: an exception becomes its class, SQLSTATE,
constraint and the places of ours it passed; a library's line becomes its template.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import MutableMapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO
from uuid import UUID

import orjson
import structlog

# The catalogue: every key that a line may have, by what it tells. What is not here is dropped and counted.
_KEYS: Final = {
    "line": "event level timestamp logger template dropped process version command",
    "ids": "workspace_id campaign_id lead_id message_id trigger_message_id draft_id run_id call_id event_id delivery_id"
    " review_action_id artifact_id booking_id token_id worker_id slack_user_id trace_id span_id",
    "codes": "agent stage iteration attempt epoch phase channel mode status outcome action reason code fate switch role"
    " gate disposition decided_by model effort feature_id prompt_key policy_revision state method route http_status"
    " purpose source table query migration column setting variable signal",
    "figures": "count total rows bytes chars records batch in_flight waiting pending running due lag lag_s age_s"
    " latency_ms claim_to_call_ms duration_ms"
    " duration_s timeout_s delay_s retry_after_s lease_s input_tokens output_tokens"
    " cached_tokens reasoning_tokens cost_usd confidence threshold tokens_saved tokens_thrown_away coerced port pid",
    "kafka": "topic partition partitions offset group_id generation position watermark",
    "errors": "error_class error_cause sqlstate constraint at",
}
CATALOGUE: Final = frozenset(key for keys in _KEYS.values() for key in keys.split())

OUR_PACKAGES: Final = ("app", "agents", "db", "schemas")
VALUE_CHARS_MAX: Final = 200
TEMPLATE_CHARS_MAX: Final = 160
FRAMES_MAX: Final = 3
INT_BITS_MAX: Final = 64

_EVENT: Final = re.compile(r"[a-z][a-z0-9_.]{0,79}")
# No blank and no at-sign: what could be a sentence or a mail address is no id.
_VALUE: Final = re.compile(rf"[^\s@\x00-\x1f\x7f\ud800-\udfff]{{0,{VALUE_CHARS_MAX}}}")
_PLAIN_WORDS: Final = re.compile(r"[A-Za-z ,.-]*")
_ROOT: Final = Path(__file__).resolve().parent.parent

Line = MutableMapping[str, Any]


class AllowList:
    """The structlog processor that keeps what the catalogue knows. `dropped_total` counts everything it took away."""

    def __init__(self) -> None:
        self.dropped_total = 0

    def __call__(self, _logger: object, _method: str, line: Line) -> Line:
        kept: dict[str, Any] = {"event": _event(line.get("event"))}
        dropped = 0
        for key, value in line.items():
            if key == "event":
                continue
            plain = value if key == "template" else _plain(value)
            if key in CATALOGUE and plain is not _DROP:
                kept[key] = plain
            else:
                dropped += 1
        if dropped:
            kept["dropped"] = dropped
            self.dropped_total += dropped
        return kept


_DROP: Final = object()


def _event(event: object) -> str:
    """Events are codes of ours; anything that could be a sentence is not printed."""
    return event if isinstance(event, str) and _EVENT.fullmatch(event) else "unprintable_event"


def _plain(value: object) -> object:
    """An id, a code, a number or a short list of them; `_DROP` for what may be text."""
    match value:
        case int() if value.bit_length() >= INT_BITS_MAX:
            return _DROP
        case None | int() | float():
            return value
        case Enum():
            return _plain(value.value)
        case UUID():
            return str(value)
        case datetime():
            return value.isoformat()
        case str():
            return value if _VALUE.fullmatch(value) else _DROP
        case list() | tuple() | set() | frozenset():
            parts = [_plain(part) for part in value]
            return _DROP if any(part is _DROP for part in parts) else parts
        case _:
            return _DROP


def describe_exception(error: BaseException) -> dict[str, Any]:
    """What may be told: `error_class`, `sqlstate`, `constraint`, `error_cause` and `at` (`file:line`, our own only)."""
    described: dict[str, Any] = {"error_class": _class_name(error), "at": _places(error)}
    for key, attribute in (("sqlstate", "sqlstate"), ("constraint", "constraint_name")):
        value = getattr(error, attribute, None)
        if isinstance(value, str):
            described[key] = value
    cause = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
    if cause is not None:
        described["error_cause"] = _class_name(cause)
        described["at"] = described["at"] or _places(cause)
    return described


def _class_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _places(error: BaseException) -> list[str]:
    """`file:line` of the innermost frames in our own packages, outermost first."""
    places = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in OUR_PACKAGES:
            places.append(f"{path.relative_to(_ROOT)}:{line}")
    return places[-FRAMES_MAX:]


def _without_message(_logger: object, _method: str, line: Line) -> Line:
    """Replace `exc_info` by what may be told of it; `stack_info` goes."""
    exc_info = line.pop("exc_info", None)
    line.pop("stack_info", None)
    error = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1] if exc_info is True else exc_info
    if isinstance(error, BaseException):
        line.update(describe_exception(error))
    return line


class LibraryHandler(logging.Handler):
    """Takes what libraries log (faust, aiokafka, mode, openai, ...) and keeps logger, level and template only."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name, "template": template(record)}
        if record.exc_info and record.exc_info[1] is not None:
            fields["exc_info"] = record.exc_info[1]
        level = max(logging.DEBUG, min(record.levelno, logging.CRITICAL)) // logging.DEBUG * logging.DEBUG
        structlog.get_logger().log(level, "library", **fields)


def template(record: logging.LogRecord) -> str:
    """The first line of the message without its arguments.

    A message that came without arguments may have been put together before the call: of that one only the plain words
    up to the first quote, colon, number or bracket are kept.
    """
    first = str(record.msg).partition("\n")[0] if isinstance(record.msg, str) else type(record.msg).__name__
    if not record.args:
        match = _PLAIN_WORDS.match(first)
        first = match.group() if match else ""
    return first[:TEMPLATE_CHARS_MAX].strip()


allow_list: Final = AllowList()


def configure_logging(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send structlog, stdlib logging, warnings and crashes to `stream` (stderr), as JSON lines; a TTY gets colours.

    Libraries are never heard below INFO, whatever `level` says: at DEBUG some print request bodies.
    """
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _without_message,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            allow_list,
            *_renderer(out),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [LibraryHandler()]
    root.setLevel(max(number, logging.INFO))
    for name in list(logging.root.manager.loggerDict):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    logging.raiseExceptions = False  # a failing handler would print the arguments
    logging.captureWarnings(capture=True)
    sys.excepthook = _crash
    threading.excepthook = lambda caught: _crash(caught.exc_type, caught.exc_value, caught.exc_traceback)


def _renderer(out: TextIO) -> list[Any]:
    if out.isatty():
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.JSONRenderer(serializer=lambda line, **_: orjson.dumps(line).decode())]


def _crash(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt) or error is None:
        return
    structlog.get_logger().critical("crashed", exc_info=error.with_traceback(trace))
