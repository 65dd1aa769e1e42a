"""Whether a JSON Schema may take another's place without a new version of the topic. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import jsonschema

Schema = dict[str, Any]


class Direction(StrEnum):
    INPUT = "input"
    """Others write: what was valid stays valid."""
    OUTPUT = "output"
    """Others read: what we write now is what they were told to expect. They ignore fields that they do not know."""


_SAY_NOTHING: Final = frozenset({"$schema", "$defs", "$ref", "title", "description", "examples", "unit", "since"})
_AT_LEAST: Final = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")
_AT_MOST: Final = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties", "maxBytes")
_THE_SAME: Final = ("pattern", "format")
_BELOW: Final = ("items", "additionalProperties", "propertyNames")
_COMPARED: Final = frozenset(
    {"type", "enum", "const", "anyOf", "properties", "required", "default", *_AT_LEAST, *_AT_MOST, *_THE_SAME, *_BELOW}
)


def breaches(direction: Direction, before: Schema, after: Schema) -> list[str]:
    """What would break for others, one line a place, `field: what`; empty when the change needs no new version.

    A keyword that nobody taught this function is a breach where it changed.
    """
    old = _Part(before, before.get("$defs", {})).resolved
    new = _Part(after, after.get("$defs", {})).resolved
    return list(_changes(direction, old, new, ""))


@dataclass(frozen=True)
class _Part:
    """A schema, or a piece of one, with the definitions of its document."""

    schema: Schema
    definitions: Schema

    @property
    def resolved(self) -> "_Part":
        """References followed; what stands beside one goes on top."""
        reference = self.schema.get("$ref")
        if reference is None:
            return self
        beside = {name: value for name, value in self.schema.items() if name != "$ref"}
        return replace(self, schema={**self.definitions[reference.rpartition("/")[2]], **beside}).resolved

    def below(self, schema: Any) -> "_Part":
        """Absent and `true` allow anything, `false` nothing."""
        told = schema if isinstance(schema, dict) else {} if schema in (None, True) else {"enum": []}
        return replace(self, schema=told).resolved

    @property
    def alternatives(self) -> "list[_Part]":
        """What a value may be: one of these."""
        kinds = self.schema.get("anyOf")
        return [self] if kinds is None else [self.below(each) for each in kinds]

    @property
    def values(self) -> list[Any] | None:
        """The closed list of values, None when it is open."""
        return [self.schema["const"]] if "const" in self.schema else self.schema.get("enum")

    def takes(self, value: Any) -> bool:
        told = {**self.schema, "$defs": self.definitions}
        return bool(jsonschema.Draft202012Validator(told).is_valid(value))


def _changes(direction: Direction, old: _Part, new: _Part, path: str) -> Iterator[str]:
    """Compare two pieces: each value that one side may write must be one that the other takes."""
    if direction is Direction.INPUT and old.schema.get("default") != new.schema.get("default"):
        yield _line(path, "its default changed, so what is left out would mean something else")
    written, read = (old, new) if direction is Direction.INPUT else (new, old)
    for kind in written.alternatives:
        like = [other for other in read.alternatives if other.schema.get("type") == kind.schema.get("type")]
        found = [list(_kind_changes(direction, kind, other, path)) for other in like or read.alternatives]
        yield from min(found, key=len)


def _kind_changes(direction: Direction, written: _Part, read: _Part, path: str) -> Iterator[str]:
    """As `_changes`, for one alternative against one."""
    if written.values is not None:
        wrong = [value for value in written.values if not read.takes(value)]
        if wrong:
            yield _line(path, f"{_listed(wrong)} {_no_longer(direction)}")
        return
    if read.values is not None:
        yield _line(path, f"its values became {'closed' if direction is Direction.INPUT else 'open'}")
        return
    if not _fits_type(written.schema.get("type"), read.schema.get("type")):
        yield _line(path, f"type {written.schema.get('type', 'any')} is not {read.schema['type']}")
        return
    yield from _bound_changes(direction, written.schema, read.schema, path)
    yield from _object_changes(direction, written, read, path)
    old, new = (written, read) if direction is Direction.INPUT else (read, written)
    for name in _BELOW:
        if name in old.schema or name in new.schema:
            there = f"{path}.{name}" if path else name
            yield from _changes(direction, old.below(old.schema.get(name)), new.below(new.schema.get(name)), there)
    for name in sorted({*written.schema, *read.schema} - _COMPARED - _SAY_NOTHING):
        if written.schema.get(name) != read.schema.get(name):
            yield _line(path, f"{name} changed, which cannot be compared")


def _bound_changes(direction: Direction, written: Schema, read: Schema, path: str) -> Iterator[str]:
    changed = "narrower" if direction is Direction.INPUT else "wider"
    for name in _AT_LEAST:
        if name in read and not (name in written and written[name] >= read[name]):
            yield _line(path, f"{name} became {changed}")
    for name in _AT_MOST:
        if name in read and not (name in written and written[name] <= read[name]):
            yield _line(path, f"{name} became {changed}")
    for name in _THE_SAME:
        if name in read and written.get(name) != read[name]:
            yield _line(path, f"{name} changed")


def _object_changes(direction: Direction, written: _Part, read: _Part, path: str) -> Iterator[str]:
    old, new = (written, read) if direction is Direction.INPUT else (read, written)
    before, after = old.schema.get("properties", {}), new.schema.get("properties", {})
    for name in before:
        there = f"{path}.{name}" if path else name
        if name in after:
            yield from _changes(direction, old.below(before[name]), new.below(after[name]), there)
        else:
            yield _line(there, "the field is gone")
    for name in sorted({*read.schema.get("required", ())} - {*written.schema.get("required", ())} & {*before, *after}):
        there = f"{path}.{name}" if path else name
        if name in after:
            yield _line(there, "became required" if direction is Direction.INPUT else "is no longer always there")


def _fits_type(written: object, read: object) -> bool:
    return read is None or written == read or (written, read) == ("integer", "number")


def _no_longer(direction: Direction) -> str:
    return "is no longer allowed" if direction is Direction.INPUT else "is a value that nobody was told of"


def _listed(values: Iterable[Any]) -> str:
    return ", ".join("null" if value is None else str(value) for value in values)


def _line(path: str, what: str) -> str:
    return f"{path or 'value'}: {what}"
