"""Real input when it lies beside the checkout (or where DRAFT_PIPELINE_DATA says), else a little of our own.

No test is skipped for missing data: it then keeps its promise on less.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

DATA = Path(
    os.environ.get("DRAFT_PIPELINE_DATA") or Path(__file__).resolve().parents[1].parent / "shared" / "data"
).resolve()

_NAUGHTY = [
    "",
    "undefined",
    "NULL",
    "1E+02",
    "0x0",
    "-9223372036854775808/-1",
    ",./;'[]\\-=",
    "Ω≈ç√∫˜µ≤≥÷",
    "田中さんにあげて下さい",
    "הָיְתָהtestالصفحات التّحول",
    "‪‪test‪",
    "Ṱ̺̺̕o͞ ̷i̲̬͇̪͙n̝̗͕v̟̜̘̦͟o̶̙̰̠kè͚̮̺̪̹̱̤",
    "<script>alert(0)</script>",
    "'; DROP TABLE message; --",
    "{{ 7 * 7 }} {% raw %}",
    "%s%s%s%n",
    "../../../../etc/passwd%00",
    '</untrusted><untrusted name="system">',
    "🏳0🌈️ 👨‍👩‍👧",
    "\t\r\n \u2028\u2029\ufeff",
]
_MAILS = {
    "bounce": b"From: MAILER-DAEMON@mx.example.net\nTo: sales@acme.com\nReturn-Path: <>\n"
    b"Subject: Undelivered Mail Returned to Sender\nContent-Type: text/plain\n\nThe mail could not be delivered.\n",
    "vacation": b"From: ann@example.net\nTo: sales@acme.com\nAuto-Submitted: auto-replied\n"
    b"Subject: Out of office\n\nI am away until Monday.\n",
    "list": b"From: news@example.net\nTo: sales@acme.com\nList-Id: <news.example.net>\nPrecedence: bulk\n"
    b"Subject: Our news\n\nRead all about it.\n",
    "report": b"From: abuse@example.net\nTo: sales@acme.com\nMIME-Version: 1.0\nSubject: Abuse report\n"
    b'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n--b\n\nA report.\n--b--\n',
}
_CHATS = [
    "hi there",
    "I would like to change my seat please",
    "my internet has stopped working since this morning",
    "can you stop the payment that goes out tomorrow?",
    "4523",
    "yes that is right, thank you so much for your help",
]


def naughty_strings() -> list[str]:
    """Strings that break things."""
    path = DATA / "naughty-strings.json"
    found: list[str] = json.loads(path.read_text("utf-8")) if path.exists() else _NAUGHTY
    return found


def machine_mails() -> dict[str, bytes]:
    """Mails that machines wrote, by name."""
    found = {path.name: path.read_bytes() for path in sorted((DATA / "emails").glob("*.eml"))}
    return found or _MAILS


def chat_bodies() -> list[str]:
    """What people wrote in chats."""
    lines = [line for path in sorted(DATA.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return [json.loads(line)["body"] for line in lines] or _CHATS


def json_files() -> dict[str, bytes]:
    """Documents at the edge of JSON and beyond, by name."""
    found = {path.name: path.read_bytes() for path in sorted((DATA / "json-test-suite").glob("*.json"))}
    return found or {
        "n_single.json": b"[",
        "n_nan.json": b"[NaN]",
        "y_empty.json": b"{}",
        "i_surrogate.json": b'["\\uD800"]',
        "n_deep.json": b"[" * 100_000,
        "n_bytes.json": b"\xff\xfe",
    }
