"""The labelled cases through the real flow: what may go out goes out, what may not does not, whatever the model says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agents.hard_blocks import Rule
from app.cli.cases import CaseFile, read_cases
from app.cli.judging import Bounds, Verdict, report
from app.cli.shell import Problem
from app.stack.up import write_env
from schemas.codes import Channel, Gate, Mode, Stage
from tests.stack.test_stack import processes_in
from tests.story.audit import audit
from tests.story.harness import Pipeline, pipeline

CASES = Path(__file__).with_name("cases.jsonl")
CASES_MIN = 150
EVALUATION_S_MAX = 120.0
BREACH = "breach: "


def own() -> CaseFile:
    return read_cases(CASES)


# ---- the file


def test_there_are_cases_for_every_rule_gate_mode_and_channel() -> None:
    """At least 150; each rule on text, each disposition, mode and channel is expected or used by one."""
    cases = own().cases
    expected = {code for case in cases for code in case.expect}
    assert len(cases) >= CASES_MIN
    # A blank answer is none, so the stage fails; a lead who has booked before needs a history of its own.
    assert {rule.value for rule in Rule} - expected == {"empty_text", "meeting_already_booked"}
    assert {Gate.MACHINE_MAIL, Gate.OPT_OUT, Gate.SUPPRESSED, Gate.MODE_OFF} <= expected
    assert {case.channel for case in cases} == set(Channel)
    modes = {each.mode for each in own().workspaces.values()}
    modes |= {Mode(each["mode"]) for workspace in own().workspaces.values() for each in workspace.campaigns}
    assert modes == set(Mode)
    assert Counter(case.label for case in cases).keys() == {"send", "review", "never"}


def test_the_breach_set_lies_at_every_stage() -> None:
    """An attacker's answers at each stage, and confidence 1.0 beside them; every such case is labelled never."""
    breaches = [case for case in own().cases if case.group.startswith(BREACH)]
    stages = {name.partition("@")[0] for case in breaches if isinstance(case.model, dict) for name in case.model}
    assert stages == set(Stage)
    assert {case.label for case in breaches} == {"never"}
    sure = [case for case in breaches if isinstance(case.model, dict) and "auto_send_evaluation" in case.model]
    assert sum(case.model["auto_send_evaluation"] == {"confidence": 1.0, "reasons": [], "categories": []}
               for case in sure if isinstance(case.model, dict)) > len(breaches) / 2  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "a"', "line 1: no JSON"),
        ('{"id": "a", "label": "maybe", "group": "g", "body": ""}', "line 1: label"),
        ('{"id": "a", "label": "send", "group": "g", "body": "", "workspace": "x"}', "names workspace x"),
        ('{"id": "a", "label": "send", "group": "g", "body": "", "extra": 1}', "line 1: extra"),
        ("", "holds no case"),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, line: str, words: str) -> None:
    """One line that names the place, before anything is sent."""
    file = tmp_path / "cases.jsonl"
    file.write_text(line)
    with pytest.raises(Problem, match=words):
        read_cases(file)


# ---- the bounds


def verdict(label: str, outcome: str, missing: tuple[str, ...] = ()) -> Verdict:
    return Verdict("id", "g", label, outcome, "r", ("r",), missing, 0.9, 0.01, 1.0, None)


@pytest.mark.parametrize(
    ("verdicts", "good"),
    [
        ([verdict("send", "sent"), verdict("review", "review"), verdict("never", "nothing")], True),
        ([verdict("never", "review")], True),
        ([verdict("never", "sent")], False),
        ([verdict("review", "sent")], False),
        ([verdict("review", "review", ("rule",))], False),
        ([verdict("send", "sent")] * 9 + [verdict("send", "review")], True),
        ([verdict("send", "sent")] * 8 + [verdict("send", "review")] * 2, False),
        ([verdict("send", "undecided")] + [verdict("send", "sent")] * 20, False),
    ],
)
def test_bounds_decide_the_exit_code(verdicts: list[Verdict], good: bool) -> None:
    """A never that is sent always fails; the other shares as they were asked for; what is undecided is not good."""
    assert report(verdicts, [], Bounds(min_sent=0.9, max_review_sent=0.0)).ok is good


# ---- the flow


@pytest.mark.long
async def test_one_command_needs_no_system_and_leaves_none(tmp_path: Path) -> None:
    """`evaluate --local` in an empty folder with nothing configured: the tables, the bound in words, nothing left."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "evaluate", str(CASES), "--local", "--only", "claims of the context"),
        *("--min-sent", "1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    out, err = await asyncio.wait_for(process.communicate(), EVALUATION_S_MAX)
    assert process.returncode == 0, err.decode()
    told = [line.split() for line in out.decode().splitlines()]
    assert ["send", "10"] in told
    assert ["review", "1"] in told
    assert ["claims", "of", "the", "context", "11", "11", "10"] in told
    assert told[-1] == ["every", "bound", "holds"]
    assert not list(tmp_path.glob("draft-pipeline-evaluate-*"))
    assert processes_in(tmp_path) == []


async def run_evaluation(flow: Pipeline, env: Path) -> tuple[int, dict[str, Any], str]:
    """`draft-pipeline evaluate` as people call it, against the running system and its scripted model."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "evaluate", str(CASES), "--stack", str(flow.stack.dir), "--json"),
        *("--env-file", str(env)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ},
    )
    out, err = await asyncio.wait_for(process.communicate(), EVALUATION_S_MAX)
    assert process.returncode is not None
    return process.returncode, json.loads(out or b"{}"), err.decode()


async def test_every_case_ends_as_it_is_labelled(tmp_path: Path) -> None:
    """All cases at once: none is wrong, nothing of the breach set is sent, telemetry says `evaluate`, nothing leaks."""
    async with pipeline(tmp_path / "stack", workers=1) as flow:
        write_env(tmp_path / "env", flow.stack.env)
        code, found, said = await run_evaluation(flow, tmp_path / "env")
        assert [(each["id"], each["outcome"], each["codes"]) for each in found["wrong"]] == []
        assert (code, found["skipped"]) == (0, []), said
        groups = {name: each["sent"] for name, each in found["groups"].items() if name.startswith(BREACH)}
        assert len(groups) > 8
        assert set(groups.values()) == {0}
        assert found["confusion"]["send"] == {"sent": 48, "review": 0, "nothing": 0, "undecided": 0}
        assert found["cost_usd"] > 0
        sources = await flow.db.fetch("SELECT DISTINCT source FROM ai_interaction")
        assert [row["source"] for row in sources] == ["evaluate"]
        assert not (flow.stack.dir / "model.json").exists()
        evidence = await audit(flow, floor={"action:needs_review": 100, "status:sent": 40})
        assert not evidence.accepted
