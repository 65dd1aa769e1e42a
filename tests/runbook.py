"""RUNBOOK.md as its reader sees it: headings, what is to be typed into a shell, and queries with what they should give.

Conventions of the file: a block without a language (or `sh`) is typed into a shell as it stands; a query whose first line
is `-- expected ...` gives one value; a capital word in a command or query is a place to fill in.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

TYPED_S_MAX = 90.0
FILE = Path(__file__).parents[1] / "RUNBOOK.md"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(#{2,4}) (.+)$", re.MULTILINE)
_EXPECTED = re.compile(r"^-- expected (at most |at least |)(\S+?):? ", re.MULTILINE)


@dataclass(frozen=True)
class Query:
    """One statement, without its comments; `expected` is what the file says it gives, `bound` how that is meant."""

    text: str
    bound: str = ""
    expected: str | None = None

    def filled(self, places: Mapping[str, str]) -> Query:
        """With its places filled in."""
        text = self.text
        for place, value in places.items():
            text = text.replace(f"'{place}'", f"'{value}'")
        return replace(self, text=text, expected=places.get(self.expected or "", self.expected))

    def holds(self, value: Any) -> bool:
        """Whether a value is what the file expects."""
        assert self.expected is not None
        if not self.bound:
            return str(value) == self.expected
        return float(value) <= float(self.expected) if self.bound == "at most" else float(value) >= float(self.expected)


@dataclass(frozen=True)
class Section:
    """What stands under one heading, up to the next of the same or a higher level."""

    heading: str
    text: str

    @property
    def shells(self) -> list[str]:
        """Blocks to be typed into a shell."""
        return [block for language, block in _BLOCK.findall(self.text) if language in ("", "sh")]

    @property
    def queries(self) -> list[Query]:
        """Every statement of every block of SQL."""
        blocks = [block for language, block in _BLOCK.findall(self.text) if language == "sql"]
        return [_query(part) for block in blocks for part in block.split(";\n") if _uncommented(part)]

    @property
    def parts(self) -> list[Section]:
        """The sections of the next level, in order."""
        level = min((len(mark) for mark, _ in _HEADING.findall(self.text)), default=0)
        found = [each for each in _HEADING.finditer(self.text) if len(each[1]) == level]
        ends = [each.start() for each in found[1:]] + [len(self.text)]
        return [Section(each[2], self.text[each.end() : end]) for each, end in zip(found, ends, strict=True)]


@cache
def text() -> str:
    """The whole file."""
    return FILE.read_text("utf-8")


def section(heading: str) -> Section:
    """The section with this heading. Raises LookupError when there is none."""
    for each in _HEADING.finditer(text()):
        if each[2] == heading:
            rest = text()[each.end() :]
            end = re.search(rf"^#{{2,{len(each[1])}}} ", rest, re.MULTILINE)
            return Section(heading, rest[: end.start()] if end else rest)
    raise LookupError(f"RUNBOOK.md has no heading {heading!r}")


def everything() -> Section:
    """The whole file as one section."""
    return Section("Runbook", text())


def spans() -> list[str]:
    """What stands between single back ticks, on one line, in order; a row of a table too."""
    return [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", _BLOCK.sub("", text()))]


async def typed(block: str, env: Mapping[str, str], folder: Path) -> str:
    """What a block prints on stdout when it is typed into a shell, in this environment and folder; each line succeeds."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("sh", "-ec", block),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={"HOME": os.environ.get("HOME", "/"), **env, "PATH": path},
    )
    printed, complained = await asyncio.wait_for(process.communicate(), TYPED_S_MAX)
    assert process.returncode == 0, (
        f"exit code {process.returncode} of:\n{block}\n{printed.decode()}{complained.decode()}"
    )
    return printed.decode()


def _uncommented(statement: str) -> str:
    return re.sub(r"^--.*$", "", statement, flags=re.MULTILINE).strip().rstrip(";").strip()


def _query(statement: str) -> Query:
    told = _EXPECTED.search(statement)
    words = (told[1].strip(), told[2]) if told else ("", None)
    return Query(_uncommented(statement), *words)
