"""What RUNBOOK.md and the topics' pages have people type, typed: against one running pipeline with its web pages."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from app.cli import app
from app.stack.postgres import _binary
from schemas.codes import KillSwitch, RunStatus
from tests import runbook
from tests.story.desk import GONE, READABLE, WORKSPACE, Desk, message, snippets, taken

pytestmark = pytest.mark.long

ROOT = typer.main.get_command(app)
STEPS = ("Steps", "Rollback levers, in order")  # their blocks are played by tests/story/test_rollout.py
# What is added, so that it ends by itself, or meets nobody else on this machine.
ADDED = {"tail": ("--once",), "mail-in": ("--port", "0")}
STAYING = ("mail-in",)  # until SIGTERM
# `web` runs beside all of this (the fixture); `up` is only named, and run by tests/stack/test_stack.py.
ELSEWHERE = ("web", "up")
NO_PLACES = {switch.value.removesuffix("_DISABLED") for switch in KillSwitch} | {status.value for status in RunStatus}
FIRST_LINE_S_MAX, LEAVE_S_MAX = 30.0, 5.0

# What stands for a place; for all commands, or for one.
PLACES = {
    "WS": WORKSPACE,
    "LEAD": GONE,
    "TOPIC": "draft-outcome",
    "CASES": "cases",
    "MAILS": "mails",
    "NEW": "new-one",
    "NAME": "old-one",
    "SUBJECT": "oidc:gone",
    "switch on: NAME": "AUTO_SEND_REVISION",
    "knowledge remove: NAME": "handbook",
    "knowledge import: DIR": "handbook",
    "export: DIR": "exported",
    "slots import: FILE": "free",
    "validate: FILE": "message.json",
    "import-history: FILE": "history.jsonl",
    "policy apply: FILE": "rules.json",
    "migrate: FILE": "then.sql",
}


@dataclass(frozen=True)
class Line:
    """A command as the file has it: which one, and its words."""

    span: str
    path: str
    words: tuple[str, ...]
    command: Any

    @property
    def is_a_name(self) -> bool:
        """Only the command's name, where a sentence speaks of it, and not enough to run it."""
        needed = any(each.required for each in self.command.params)
        return not self.words and (needed or self.path == "backfill")


def line_of(span: str) -> Line | None:
    """The command that a span is, if it is one."""
    words = shlex.split(span.removeprefix("draft-pipeline ")) if span.count('"') % 2 == 0 else span.split()
    command: Any = ROOT
    taken = 0
    while taken < len(words) and words[taken] in commands_of(command):
        command = commands_of(command)[words[taken]]
        taken += 1
    if taken == 0 or commands_of(command):
        assert not span.startswith("draft-pipeline ") or span == "draft-pipeline ...", f"no command: {span}"
        return None
    return Line(span, " ".join(words[:taken]), tuple(words[taken:]), command)


def commands_of(command: Any) -> dict[str, Any]:
    """The commands of a group; none of a command."""
    found: dict[str, Any] = getattr(command, "commands", {})
    return found


def lines() -> list[Line]:
    """Every command in a sentence or table of the runbook, once."""
    found = [line for span in runbook.spans() if (line := line_of(span)) is not None]
    return list({(line.path, line.words): line for line in found}.values())


# ---- the runbook


def words_of(desk: Desk, line: Line) -> list[str]:
    """The command with every place filled in; an unknown place fails."""
    places = PLACES | desk.places

    def fill(found: re.Match[str]) -> str:
        if found[0] in NO_PLACES:
            return found[0]
        value = places.get(f"{line.path}: {found[0]}") or places.get(found[0])
        assert value is not None, f"{line.span}: nobody says what {found[0]} is"
        return value

    words = [word if " " in word else re.sub(r"\b[A-Z][A-Z_]+\b", fill, word) for word in line.words]
    return [*line.path.split(), *words, *ADDED.get(line.path, ())]


def run(desk: Desk, line: Line) -> str | None:
    """The command line in this process, as `draft-pipeline` calls it; what is wrong with how it ended."""
    words = words_of(desk, line)
    ended = CliRunner().invoke(app, words, env=desk.env)
    return f"{words}: {ended.exit_code}, {ended.exception!r}\n{ended.output}" if ended.exit_code else None


async def start_and_end(desk: Desk, line: Line) -> str | None:
    """A command that stays: it says something, and SIGTERM ends it well; else what is wrong."""
    words = words_of(desk, line)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=desk.folder,
        env={**desk.env, "PATH": os.environ["PATH"]},
    )
    assert process.stdout is not None
    said = await asyncio.wait_for(process.stdout.readline(), FIRST_LINE_S_MAX)
    process.terminate()
    rest, _ = await asyncio.wait_for(process.communicate(), FIRST_LINE_S_MAX)
    well = said and process.returncode == 0
    return None if well else f"{words}: {process.returncode}\n{(said + rest).decode()}"


@pytest.fixture
def here(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """In the folder of the files."""
    monkeypatch.chdir(desk.folder)
    return desk


async def test_every_command_in_a_sentence_of_the_runbook_runs(here: Desk) -> None:
    """With its places filled in, in the order of the file; a bare name stands for a command that is run elsewhere in it."""
    found = [line for line in lines() if line.path not in ELSEWHERE]
    typed = [line for line in found if not line.is_a_name]
    wrong = []
    for line in typed:
        staying = line.path in STAYING
        wrong.append(await start_and_end(here, line) if staying else await asyncio.to_thread(run, here, line))
    assert [each for each in wrong if each] == []
    in_blocks = "\n".join(runbook.everything().shells)
    run_here = {line.path for line in typed}
    assert {
        line.path for line in found if line.path not in run_here and f"draft-pipeline {line.path}" not in in_blocks
    } == set()
    assert len(typed) > 50


# ---- the pages of the topics


async def test_the_python_that_writes_is_taken(desk: Desk) -> None:
    """As published; only the address comes from the environment."""
    message(desk, "by-python")
    (block,) = snippets("inbound-message", "python")
    (desk.folder / "write.py").write_text(block)
    await runbook.typed("python write.py", desk.env, desk.folder)
    await taken(desk, "by-python")


async def test_the_curl_that_writes_is_taken(desk: Desk) -> None:
    """It prints where the broker has it."""
    message(desk, "by-curl")
    printed = json.loads(await runbook.typed(snippets("inbound-message", "sh")[1], desk.env, desk.folder))
    assert (printed["message_id"], printed["topic"]) == ("by-curl", "inbound-message")
    await taken(desk, "by-curl")


@pytest.mark.parametrize("topic", READABLE)
async def test_the_python_that_reads_prints_what_is_there(desk: Desk, topic: str) -> None:
    """The id of an event of this topic and its draft, and it waits for more."""
    (block,) = snippets(topic, "python")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", block),
        stdout=asyncio.subprocess.PIPE,
        env={**desk.env, "PATH": os.environ["PATH"]},
    )
    assert process.stdout is not None
    printed = (await asyncio.wait_for(process.stdout.readline(), FIRST_LINE_S_MAX)).decode().split()
    process.send_signal(signal.SIGINT)  # it leaves its group, which the next page's shares; unless SIGINT is ignored
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), LEAVE_S_MAX)
    if process.returncode is None:
        process.kill()
    events = [json.loads(record.value or b"") for record in await desk.flow.topic(topic)]
    assert printed in [[event["event_id"], event["draft_id"]] for event in events]


@pytest.mark.parametrize("topic", READABLE)
async def test_the_curl_that_reads_shows_the_run(desk: Desk, topic: str) -> None:
    """The run that an event names."""
    told = json.loads(await runbook.typed(snippets(topic, "sh")[1], desk.env, desk.folder))
    assert told["run"]["id"] == desk.env["RUN_ID"]


# ---- what stops the system or takes things away: last


async def test_every_block_of_the_runbook_runs(desk: Desk) -> None:
    """As it stands, in order, with nobody working; the rollout's blocks are played by a story of its own. Of the lead that
    was erased nothing is left in a dump."""
    await desk.flow.idle()
    await desk.flow.stop_workers()
    assert await left_in_a_dump(desk) > 0
    played = {block for heading in STEPS for block in runbook.section(heading).shells}
    blocks = [block for block in runbook.everything().shells if block not in played]
    for block in blocks:
        filled = re.sub(r"\b(LEAD|WS)\b", lambda found: PLACES[found[0]], block)
        await runbook.typed(filled, desk.env, desk.folder)
    assert len(blocks) >= 6
    assert await left_in_a_dump(desk) == 0


async def left_in_a_dump(desk: Desk) -> int:
    """What the runbook counts to prove an erasure."""
    (proof,) = [span for span in runbook.spans() if span.startswith("pg_dump ")]
    counting = f'PATH="{_binary("pg_dump").parent}:$PATH"; {proof.replace("LEAD", PLACES["LEAD"])} || true'
    return int(await runbook.typed(counting, desk.env, desk.folder))
