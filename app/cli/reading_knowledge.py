"""From a folder of Markdown, text and CSV files to knowledge entries. What is wrong is told with file and line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agents.context import BASE_TOKENS_MAX, token_estimate
from agents.hard_blocks.language import language_of, primary
from app.cli.shell import WrongUse

TITLE_CHARS_MAX: Final = 300
SOURCE_CHARS_MAX: Final = 400
ENTRY_CHARS_MAX: Final = 100_000
FILE_BYTES_MAX: Final = 32 * 1024 * 1024
MARKDOWN: Final = frozenset({".md", ".markdown"})
TEXT: Final = frozenset({".txt", ".text"})
CSV: Final = frozenset({".csv"})

# What Postgres can search in, by ISO 639-1; other languages are searched word by word, as they are written.
SEARCH_LANGUAGE: Final = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian",
    "id": "indonesian", "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali", "nl": "dutch",
    "nn": "norwegian", "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
PLAIN: Final = "simple"

_HEADING: Final = re.compile(r" {0,3}(#{1,3})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*")
_CODE: Final = re.compile(r" {0,3}(```|~~~)")
_TITLE_COLUMNS: Final = ("title", "question", "name")
_TEXT_COLUMNS: Final = ("text", "answer", "content", "body")
_YES: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


@dataclass(frozen=True)
class Entry:
    """One entry as it is to be stored; `language` is a text search configuration of Postgres."""

    source: str
    title: str
    text: str
    language: str
    verified: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.source, self.title


@dataclass
class Reading:
    """What a folder holds. `problems` and `remarks` are lines `FILE:LINE: what and what to do`."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Piece:
    """A part of a file: one entry before it is checked."""

    line: int
    title: str
    text: str
    language: str | None = None
    verified: bool | None = None


class _BadLine(Exception):
    """The argument says what is wrong and what to do."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def search_language(tag: str) -> str:
    """The search configuration for a BCP 47 tag or for a configuration's own name. Raises WrongUse for another word."""
    if tag in (PLAIN, *SEARCH_LANGUAGE.values()):
        return tag
    found = SEARCH_LANGUAGE.get(primary(tag))
    if found is None:
        raise WrongUse(f"language {tag}: use one of {', '.join(sorted(SEARCH_LANGUAGE))}, or {PLAIN}")
    return found


def read_folder(folder: Path, name: str, language: str | None, verified: bool) -> Reading:
    """Every Markdown, text and CSV file below `folder`; hidden ones are left out, others are remarked on.

    :param name: the import's own; the source of an entry is `NAME/path/of/file`.
    :param language: a search configuration for all entries; None: each file's and entry's own words tell.
    """
    reading = Reading()
    for path in _files(folder):
        shown = path.relative_to(folder).as_posix()
        try:
            shown.encode()
            for piece in _pieces(path):
                entry = _entry(piece, f"{name}/{shown}", language, verified)
                reading.entries.append(entry)
                if token_estimate(entry.text) > BASE_TOKENS_MAX["verified"]:
                    reading.remarks.append(f"{shown}:{piece.line}: too long to be shown whole; split it by headings")
        except UnicodeEncodeError:
            reading.problems.append(f"{shown!a}: the file's name is not UTF-8; rename it")
        except _BadLine as error:
            reading.problems.append(f"{shown}:{error.line}: {error}")
    reading.remarks += _ignored(folder)
    return reading


def _files(folder: Path) -> list[Path]:
    known = MARKDOWN | TEXT | CSV
    return [path for path in _visible(folder) if path.suffix.lower() in known]


def _visible(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _ignored(folder: Path) -> Iterator[str]:
    for path in _visible(folder):
        if path.suffix.lower() not in MARKDOWN | TEXT | CSV:
            yield f"{path.relative_to(folder).as_posix()!a}: left out; only .md, .txt and .csv are read"


def _pieces(path: Path) -> Iterable[_Piece]:
    text, suffix = _text_of(path), path.suffix.lower()
    if suffix in CSV:
        pieces = list(_rows(text))
    elif suffix in MARKDOWN:
        pieces = list(_sections(text, _title_of(path)))
    else:
        pieces = [_Piece(1, _title_of(path), text.strip("\r\n"))] if text.strip() else []
    if not pieces:
        raise _BadLine(1, "holds no entry; write something or delete the file")
    first: dict[str, int] = {}
    for piece in pieces:
        if piece.title in first:
            raise _BadLine(piece.line, f"has the title of line {first[piece.title]} again; give it another one")
        first[piece.title] = piece.line
    own = language_of("\n".join(piece.text for piece in pieces))
    return [_Piece(each.line, each.title, each.text, each.language or own, each.verified) for each in pieces]


def _title_of(path: Path) -> str:
    return " ".join(re.split(r"[\s_-]+", path.stem)) or path.stem


def _text_of(path: Path) -> str:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise _BadLine(1, f"is larger than {FILE_BYTES_MAX // 1024**2} MB; split it")
    content = path.read_bytes()
    if b"\x00" in content:
        raise _BadLine(content.partition(b"\x00")[0].count(b"\n") + 1, "holds a NUL byte; remove it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _BadLine(content[: error.start].count(b"\n") + 1, "is not UTF-8; save the file as UTF-8") from None


# ---- Markdown


def _sections(text: str, name: str) -> Iterator[_Piece]:
    """One piece per heading of the first three levels, titled by the headings above it; none for an empty one."""
    above: list[tuple[int, str]] = []
    begin, in_code, body = 1, "", list[str]()

    def piece() -> Iterator[_Piece]:
        text = "\n".join(body).strip("\n")
        if text.strip():
            yield _Piece(begin, " / ".join(title for _, title in above) or name, text)

    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        code = _CODE.match(line)
        if code is not None and in_code in ("", code[1]):
            in_code = "" if in_code else code[1]
        heading = None if in_code else _HEADING.fullmatch(line)
        if heading is None:
            body.append(line)
            continue
        yield from piece()
        level = len(heading[1])
        above = [*[each for each in above if each[0] < level], (level, heading[2] or name)]
        begin, body = number, []
    yield from piece()


# ---- CSV


def _rows(text: str) -> Iterator[_Piece]:
    """One piece per row. The first row names the columns; the separator is the one that it has most of."""
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] = []
    line = 0
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise _BadLine(line, f"is no CSV ({error}); check its quotation marks") from None
        if row is None:
            return
        if not names:
            names = _columns([cell.strip().lower() for cell in row])
        elif any(cell.strip() for cell in row):
            yield _row(line, names, row)


def _columns(names: list[str]) -> list[str]:
    known = {**dict.fromkeys(_TITLE_COLUMNS, "title"), **dict.fromkeys(_TEXT_COLUMNS, "text")}
    columns = [known.get(name, name) for name in names]
    for needed, spellings in (("title", _TITLE_COLUMNS), ("text", _TEXT_COLUMNS)):
        if columns.count(needed) != 1:
            raise _BadLine(1, f"needs exactly one column {' or '.join(spellings)}; name it in the first line")
    return columns


def _row(line: int, names: list[str], row: list[str]) -> _Piece:
    if len(row) != len(names):
        raise _BadLine(line, f"has {len(row)} cells, the first line has {len(names)}; check its quotation marks")
    cells = dict(zip(names, row, strict=True))
    verified = _YES.get(cells.get("verified", "").strip().lower())
    if verified is None:
        raise _BadLine(line, "verified is neither yes nor no")
    language = cells.get("language", "").strip()
    if language and primary(language) not in SEARCH_LANGUAGE and language != PLAIN:
        raise _BadLine(line, f"language is none of {', '.join(sorted(SEARCH_LANGUAGE))}")
    given = verified if "verified" in cells else None
    return _Piece(line, cells["title"], cells["text"], language or language_of(cells["text"]), given)


# ---- checked


def _entry(piece: _Piece, source: str, language: str | None, verified: bool) -> Entry:
    if not piece.title.strip():
        raise _BadLine(piece.line, "has no title")
    if not piece.text.strip():
        raise _BadLine(piece.line, "has no text")
    for what, value, limit in (
        ("the title", piece.title, TITLE_CHARS_MAX),
        ("the text", piece.text, ENTRY_CHARS_MAX),
        ("the file's path", source, SOURCE_CHARS_MAX),
    ):
        if len(value) > limit:
            raise _BadLine(piece.line, f"{what} is longer than {limit} characters; shorten or split it")
    spoken = language or search_language_or_plain(piece.language or language_of(piece.text))
    return Entry(source, piece.title, piece.text, spoken, verified if piece.verified is None else piece.verified)


def search_language_or_plain(tag: str | None) -> str:
    """The search configuration of a language, `simple` where there is none or it is not known."""
    return SEARCH_LANGUAGE.get(primary(tag), PLAIN) if tag else PLAIN
