"""The data dictionary: each field of public topics and views, made from the schemas and the views' comments."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Final

from db import sql
from db.pool import Executor
from schemas.events import PUBLIC_EVENTS, Event

SINCE: Final = "0.1.0"
_FORMATS: Final = {"uuid": "uuid", "date-time": "timestamp"}
_COMMENT_PARTS: Final = 3
_SQL_TYPES: Final = {
    "timestamp with time zone": "timestamp",
    "double precision": "number",
    "bigint": "integer",
    "text": "string",
    "text[]": "list of string",
}


@dataclass(frozen=True)
class Field:
    """One field. `unit` and `range` are empty where there is nothing to say; `since` is a version of this project."""

    name: str
    type: str
    meaning: str
    unit: str
    range: str
    since: str


@dataclass(frozen=True)
class Source:
    """A topic or a view with its fields, in order."""

    name: str
    kind: str
    about: str
    fields: tuple[Field, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


async def dictionary(connection: Executor) -> list[Source]:
    """Everything that analysts may read: public topics first, then the views by name."""
    rows = await sql.analytics.view_columns.rows(connection)
    views = [_view(name, list(columns)) for name, columns in groupby(rows, lambda row: row["view"])]
    return [*(topic_source(event) for event in PUBLIC_EVENTS.values()), *views]


# ---- topics


def topic_source(event: type[Event]) -> Source:
    """The fields of an event, as its JSON Schema has them."""
    schema = event.model_json_schema()
    definitions = schema.get("$defs", {})
    fields = tuple(_topic_field(name, told, definitions) for name, told in _properties(schema, definitions))
    return Source(event.topic, "topic", (event.__doc__ or "").strip(), fields)


def _properties(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The properties, with those of a nested object behind it, under `outer.inner`."""
    for name, told in schema["properties"].items():
        yield name, told
        inner = _resolved(told, definitions)
        for inner_name, inner_told in inner.get("properties", {}).items():
            yield f"{name}.{inner_name}", inner_told


def _resolved(told: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """What a field is when it is not null, references followed."""
    chosen = next((each for each in told.get("anyOf", ()) if each.get("type") != "null"), told)
    reference = chosen.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else chosen


def _topic_field(name: str, told: dict[str, Any], definitions: dict[str, Any]) -> Field:
    plain = _resolved(told, definitions)
    nullable = any(each.get("type") == "null" for each in told.get("anyOf", ()))
    kind = _FORMATS.get(plain.get("format", ""), plain.get("type", "string"))
    if kind == "array":
        kind = f"list of {plain['items'].get('type', 'string')}"
    if "const" in plain:
        kind = "integer" if isinstance(plain["const"], int) else "string"
    return Field(
        name,
        f"{kind} or null" if nullable else kind,
        told.get("description", ""),
        str(told.get("unit", "")),
        _range(plain, told),
        str(told.get("since", SINCE)),
    )


def _range(plain: dict[str, Any], told: dict[str, Any]) -> str:
    """What values are allowed, in words."""
    if "enum" in plain:
        return ", ".join(map(str, plain["enum"]))
    if "const" in plain:
        return str(plain["const"])
    if "minimum" in plain:
        return f"{plain['minimum']:g} to {plain['maximum']:g}" if "maximum" in plain else f"{plain['minimum']:g} and up"
    if "maxBytes" in told:
        return f"up to {told['maxBytes']} bytes"
    if "maxLength" in plain:
        return f"{plain.get('minLength', 0)} to {plain['maxLength']} characters"
    if "maxProperties" in plain:
        return f"up to {plain['maxProperties']} entries"
    return str(plain.get("pattern", "")).strip("^$")


# ---- views


def _view(name: str, columns: Sequence[Any]) -> Source:
    return Source(f"analytics.{name}", "view", columns[0]["about"] or "", tuple(map(_view_field, columns)))


def _view_field(column: Any) -> Field:
    """A comment says `meaning | unit | range`; what is left out at its end is empty."""
    parts = [part.strip() for part in (column["comment"] or "").split("|")]
    meaning, unit, allowed = [*parts, *[""] * _COMMENT_PARTS][:_COMMENT_PARTS]
    kind = _SQL_TYPES.get(column["type"], column["type"])
    return Field(column["column"], kind, meaning, unit, allowed, SINCE)


# ---- for people


def markdown(sources: Iterable[Source]) -> str:
    """The dictionary as a page."""
    lines = [
        "# Data dictionary",
        "",
        "Made by `draft-pipeline dictionary` from the event schemas and from the comments on the views of schema",
        "`analytics`; a test keeps it true. Only fields of `inbound-message` can hold a text, a name or an address.",
        "Times are UTC; ids are opaque. `or null` is said of topics; any column of a view that says so may be null.",
    ]
    for source in sources:
        lines += ["", f"## {source.name}", "", source.about, "", "| field | type | meaning | unit | range | since |"]
        lines.append("|---|---|---|---|---|---|")
        lines += [
            "| " + " | ".join([f"`{each.name}`", each.type, each.meaning, each.unit, each.range, each.since]) + " |"
            for each in source.fields
        ]
    return "\n".join(lines) + "\n"
