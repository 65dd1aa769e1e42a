"""How figures, times and ids are written on pages. What is not known is a dash: no data is not 0."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup, escape

from app.review.words import RESULTS, rule_in_words

NONE: Final = Markup('<span class="none" title="no data">–</span>')
_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))
_BYTES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))

Number = int | float | Decimal


def count(value: Number | None) -> Markup | str:
    """A count with narrow spaces between thousands."""
    return NONE if value is None else f"{value:,.0f}".replace(",", "\u202f")


def decimal(value: Number | None, digits: int = 2) -> Markup | str:
    return NONE if value is None else f"{value:.{digits}f}"


def share(value: Number | None, digits: int = 1) -> Markup | str:
    """A share of 0..1 in percent."""
    return NONE if value is None else f"{float(value) * 100:.{digits}f} %"


def usd(value: Number | None, digits: int = 4) -> Markup | str:
    return NONE if value is None else f"${value:,.{digits}f}"


def seconds(value: Number | timedelta | None) -> Markup | str:
    """A duration in seconds, as people say it: `0.4 s`, `12 s`, `3.2 min`, `5.0 h`, `2.1 d`."""
    if value is None:
        return NONE
    amount = value.total_seconds() if isinstance(value, timedelta) else float(value)
    for size, unit in _UNITS:
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount:.0f} s" if amount >= 10 else f"{amount:.1f} s"


def milliseconds(value: Number | None) -> Markup | str:
    """Below 10 s in milliseconds, above in seconds."""
    if value is None:
        return NONE
    return f"{value:.0f} ms" if value < 10_000 else seconds(float(value) / 1000)


def size(value: Number | None) -> Markup | str:
    if value is None:
        return NONE
    for unit, name in _BYTES:
        if value >= unit:
            return f"{float(value) / unit:.1f} {name}"
    return f"{value:.0f} B"


def stamp(moment: datetime | None) -> Markup:
    """A time in UTC; the browser adds the local one on hover."""
    if moment is None:
        return NONE
    at = moment.astimezone(UTC)
    text = at.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}" title="{} UTC">{}Z</time>').format(at.isoformat(), text, text)


def age(moment: datetime | None, now: datetime | None = None) -> Markup:
    """How long ago, or ahead; the time itself on hover."""
    if moment is None:
        return NONE
    at, present = moment.astimezone(UTC), now or datetime.now(UTC)
    gap = (present - at).total_seconds()
    said = f"{seconds(gap)} ago" if gap >= 0 else f"in {seconds(-gap)}"
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        at.isoformat(), at.strftime("%Y-%m-%d %H:%M:%S"), said
    )


def ident(value: object, shown: int | None = None) -> Markup:
    """An id with a button that copies it; `shown`: only so many characters are written, all are copied."""
    if value is None or value == "":
        return NONE
    text = str(value)
    short = text if shown is None or len(text) <= shown else f"{text[:shown]}…"
    return Markup(
        '<span class="id"><code title="{0}">{1}</code>'
        '<button type="button" class="copy" data-copy="{0}" aria-label="copy {0}">copy</button></span>'
    ).format(text, short)


def word(value: object) -> Markup | str:
    """A value as one word: on, off, a dash, lists with commas."""
    if value is None or value in ("", [], {}):
        return NONE
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(each) for each in value)
    return str(value)


def state(text: str, kind: str) -> Markup:
    """A coloured word that says the same without colour. `kind`: good, warn, bad or quiet."""
    return Markup('<span class="state {}">{}</span>').format(kind, text)


def spaced(value: str) -> Markup:
    """A code such as `needs_review`, with places where a line may break."""
    return Markup("_<wbr>").join(escape(part) for part in value.split("_"))


def heading(anchor: str) -> str:
    """A heading of the runbook from its anchor: `agent-paused` is "Agent paused"."""
    return anchor.replace("-", " ").capitalize()


def sentence(text: str) -> str:
    """The text with a capital first letter; the others stay as they are."""
    return text[:1].upper() + text[1:]


def segment(text: str) -> str:
    """A text as one segment of an address, whatever is in it."""
    return quote(text, safe="")


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "count": count,
    "decimal": decimal,
    "share": share,
    "usd": usd,
    "seconds": seconds,
    "milliseconds": milliseconds,
    "size": size,
    "stamp": stamp,
    "age": age,
    "ident": ident,
    "word": word,
    "state": state,
    "spaced": spaced,
    "rule_words": rule_in_words,
    "result_words": lambda result: RESULTS.get(result, result),
    "heading": heading,
    "sentence": sentence,
    "segment": segment,
}
