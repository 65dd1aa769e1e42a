"""`demo`: everything it promises to show does occur, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agents.reading import Unreadable, read_event
from app.cli.demo_messages import LEGACY, SOFTWARE, TRAVEL, documents, samples
from app.cli.demo_view import outcome_of, percentile
from app.cli.documents import WorkspaceDocument
from schemas.events import InboundMessage
from tests.cli.conftest import KEPT

DEMO_S_MAX = 150.0
SHOWN = (
    "sent at once",
    "revised, then sent",
    "asks a person: hard block",
    "asks a person: not improved by revision",
    "evaluated for the legacy system",
    "part of a burst, answered with the last",
    "answered by a person",
    "machine mail",
    "opt-out",
    "after an opt-out",
    "recorded only",
    "dead letter",
)


def row(**more: Any) -> dict[str, Any]:
    """A message that started a run."""
    facts = dict.fromkeys(("draft_status", "action", "reason", "revision_outcome", "mode"))
    return {**facts, "disposition": "run", "hard_blocks": [], "revised": False, **more}


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"disposition": "machine_mail"}, "machine mail"),
        ({"disposition": "waiting"}, "in work"),
        ({}, "in work"),
        ({"draft_status": "pending"}, "in work"),
        ({"draft_status": "sent"}, "sent at once"),
        ({"draft_status": "sent", "revised": True}, "revised, then sent"),
        ({"draft_status": "superseded"}, "superseded by a newer message or answer"),
        ({"draft_status": "pending", "action": "none", "mode": "LEGACY_AUTO_REPLY"}, "evaluated for the legacy system"),
        ({"draft_status": "pending", "action": "needs_review", "hard_blocks": [{}]}, "asks a person: hard block"),
        ({"draft_status": "pending", "action": "needs_review", "reason": "too_old"}, "asks a person: too old"),
    ],
)
def test_every_message_has_one_outcome_in_words(facts: dict[str, Any], word: str) -> None:
    """What is not yet decided is in work."""
    assert outcome_of(row(**facts)) == word


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([], 0.5, None),
        ([1.0], 0.95, 1.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0], 0.51, 2.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.95, 4.0),
        ([1.0, 2.0, 3.0, 4.0], 0.0, 1.0),
        ([float(n) for n in range(1, 101)], 0.07, 7.0),
        ([float(n) for n in range(1, 101)], 0.95, 95.0),
    ],
)
def test_a_percentile_is_the_value_that_a_share_does_not_exceed(
    values: list[float], share: float, found: float | None
) -> None:
    """Nearest rank: the smallest such value, one that occurred; none of nothing."""
    assert percentile(values, share) == found


def test_the_morning_has_about_sixty_messages_of_every_kind() -> None:
    """All keep the contract but those that are broken on purpose; three workspaces, four languages, two directions."""
    morning = samples()
    now = datetime.now(UTC)
    read = [read_event(InboundMessage, each.record(n, "r", "s", now)) for n, each in enumerate(morning)]
    broken = [each for each in read if isinstance(each, Unreadable)]
    good = [each for each in read if isinstance(each, InboundMessage)]
    assert 55 <= len(morning) <= 65
    assert len(broken) == sum(each.raw is not None for each in morning) == 3
    assert {each.workspace_id for each in good} >= {SOFTWARE, TRAVEL, LEGACY}
    assert {each.locale for each in morning} >= {"de", "fr", "es", None}
    assert Counter(each.direction for each in good)["outbound"] == 2


def test_the_demos_workspaces_are_documents_that_apply_takes() -> None:
    """One with revision, one without, one for the legacy system."""
    read = [WorkspaceDocument.model_validate(each) for each in documents("https://example.com/", "s")]
    assert [each.settings.get("auto_send_revision_enabled", False) for each in read] == [True, False, False]
    assert [str(each.default_mode) for each in read] == ["AI_AUTO_SEND", "AI_AUTO_SEND", "LEGACY_AUTO_REPLY"]


async def started(folder: Path) -> asyncio.subprocess.Process:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "demo", "--dir", str(folder / "demo")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=kept,
    )


def left_behind(folder: Path) -> list[str]:
    """Processes that name the demo's folder in their arguments, or hold it in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                if str(folder).encode() in (process / "cmdline").read_bytes():
                    found.append(process.name)
            except OSError:
                continue
    return found


@pytest.mark.timeout(DEMO_S_MAX + 30)
async def test_the_demo_shows_all_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Every outcome it promises is in the summary, exit code 0, no process of its folder is left."""
    process = await started(tmp_path)
    out, err = await asyncio.wait_for(process.communicate(), DEMO_S_MAX)
    text = out.decode()
    assert process.returncode == 0, err.decode()[-2000:]
    assert [word for word in SHOWN if word not in text] == []
    assert "of them about a meeting" in text
    assert re.search(r"[1-9]\d* of them about a meeting: [1-9]\d* booked, [1-9]\d* asked back", text)
    assert not left_behind(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]


@pytest.mark.long
@pytest.mark.timeout(DEMO_S_MAX)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, or the end of the session, in the middle of the work."""
    process = await started(tmp_path)
    assert process.stderr is not None
    while b"workers are consuming" not in await asyncio.wait_for(process.stderr.readline(), DEMO_S_MAX):
        pass
    process.send_signal(number)
    _, err = await asyncio.wait_for(process.communicate(), DEMO_S_MAX / 2)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert not left_behind(tmp_path)
