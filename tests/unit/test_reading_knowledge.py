"""A folder of files becomes entries as they were written; what is wrong is told with file and line."""

from pathlib import Path

import pytest

from app.cli.reading_knowledge import ENTRY_CHARS_MAX, TITLE_CHARS_MAX, Entry, Reading, read_folder, search_language
from app.cli.shell import WrongUse
from tests.samples import naughty_strings

GERMAN = "Die Rückgabe ist für alle Kunden möglich, wenn Sie uns bitte vorher schreiben. Wir helfen Ihnen mit der Ware."
ENGLISH = "You can share a board with people who have no account. We will send them a link to it, and that is all."


def read(folder: Path, language: str | None = None, *, verified: bool = False) -> Reading:
    return read_folder(folder, "handbook", language, verified)


def write(folder: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return folder


def titles(reading: Reading) -> list[str]:
    return [entry.title for entry in reading.entries]


def test_markdown_has_one_entry_a_heading(tmp_path: Path) -> None:
    """Titled by the headings above it; what stands before the first has the file's name; code is no heading."""
    text = "Before.\n# Plans\n\nAll plans.\n\n## Small ##\nTen boards.\n```\n# no heading\n```\n## Large\n# Support\nAlways.\n"
    reading = read(write(tmp_path, **{"prices_md": text}))
    assert reading.problems == []
    assert titles(reading) == ["prices", "Plans", "Plans / Small", "Support"]
    assert reading.entries[2].text == "Ten boards.\n```\n# no heading\n```"
    assert {entry.source for entry in reading.entries} == {"handbook/prices.md"}


def test_text_has_one_entry_a_file_and_csv_one_a_row(tmp_path: Path) -> None:
    """Separators and spellings as spreadsheets write them; a cell may say language and verified."""
    faq = '\ufeffQuestion;Answer;language;verified\r\n"How?";"By ""link"";\nand mail";de;yes\r\n\r\nWhen?;Soon;;no\r\n'
    reading = read(write(tmp_path, **{"sub__opening-hours_txt": "Nine to five.", "faq_csv": faq}), verified=True)
    assert reading.problems == []
    assert reading.entries == [
        Entry("handbook/faq.csv", "How?", 'By "link";\nand mail', "german", True),
        Entry("handbook/faq.csv", "When?", "Soon", "simple", False),
        Entry("handbook/sub/opening-hours.txt", "opening hours", "Nine to five.", "simple", True),
    ]


def test_the_language_is_told_by_the_words_unless_it_is_given(tmp_path: Path) -> None:
    """Entry by entry; a short one has that of its file, an unsure one is searched as it is written."""
    write(tmp_path, **{"a_md": f"# Eins\n{GERMAN}\n# Zwei\nJa.", "b_md": f"# One\n{ENGLISH}", "c_txt": "42"})
    assert [entry.language for entry in read(tmp_path).entries] == ["german", "german", "english", "simple"]
    assert {entry.language for entry in read(tmp_path, "french").entries} == {"french"}
    assert (search_language("de-AT"), search_language("simple"), search_language("dutch")) == (
        "german",
        "simple",
        "dutch",
    )
    with pytest.raises(WrongUse, match="language xx"):
        search_language("xx")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a_md", b"# One\nfine\n\xff", "a.md:3: is not UTF-8; save the file as UTF-8"),
        ("a_txt", b"one\ntwo\x00", "a.txt:2: holds a NUL byte; remove it"),
        ("a_txt", b"\n\n", "a.txt:1: holds no entry; write something or delete the file"),
        ("a_md", b"# One\nx\n# Two\ny\n# One\nz", "a.md:5: has the title of line 1 again; give it another one"),
        ("a_md", b"# " + b"t" * (TITLE_CHARS_MAX + 1) + b"\nx", "a.md:1: the title is longer than 300 characters"),
        ("a_txt", b"x" * (ENTRY_CHARS_MAX + 1), "a.txt:1: the text is longer than 100000 characters"),
        ("a_csv", b"a,b\n1,2", "a.csv:1: needs exactly one column title or question or name"),
        ("a_csv", b"title,text,body\n1,2,3", "a.csv:1: needs exactly one column text or answer"),
        ("a_csv", b"title,text\nA,x\n\nB\n", "a.csv:4: has 1 cells, the first line has 2"),
        ("a_csv", b'title,text\nA,"x\ny"\nB,"open\n', "a.csv:4: is no CSV"),
        ("a_csv", b"title,text\n,x\n", "a.csv:2: has no title"),
        ("a_csv", b"title,text\nA, \n", "a.csv:2: has no text"),
        ("a_csv", b"title,text,verified\nA,x,perhaps\n", "a.csv:2: verified is neither yes nor no"),
        ("a_csv", b"title,text,language\nA,x,klingon\n", "a.csv:2: language is none of ar, ca"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    """And what to do about it."""
    [told] = read(write(tmp_path, **{name: content})).problems
    assert told.startswith(problem)


def test_other_files_are_remarked_on_and_hidden_ones_are_not(tmp_path: Path) -> None:
    """So that nobody believes a PDF was read; a text too long for the prompt is remarked on, too."""
    reading = read(write(tmp_path, **{"a_pdf": "x", ".git__config_txt": "x", "b_txt": "word " * 10_000}))
    assert reading.problems == []
    assert reading.remarks == [
        "b.txt:1: too long to be shown whole; split it by headings",
        "'a.pdf': left out; only .md, .txt and .csv are read",
    ]


def test_naughty_strings_are_kept_as_they_are(tmp_path: Path) -> None:
    """In a cell, byte for byte; those that Postgres cannot store are refused with their line."""
    import csv
    import io

    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["title", "text"])
    texts = [text for text in dict.fromkeys(naughty_strings()) if text.strip() and len(text) <= TITLE_CHARS_MAX]
    texts = [text for text in texts if "\x00" not in text and text.isprintable() | ("\r" not in text)]
    writer.writerows([f"{number} {text}", text] for number, text in enumerate(texts))
    reading = read(write(tmp_path, **{"faq_csv": rows.getvalue()}))
    assert reading.problems == []
    assert [entry.text for entry in reading.entries] == texts
    assert [entry.title for entry in reading.entries] == [f"{number} {text}" for number, text in enumerate(texts)]
