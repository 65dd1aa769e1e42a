"""What every command keeps: help with an example, one line for an error, 0 / 1 / 2, a quick start."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator

import jsonschema
import pytest
import typer.main

from app.cli import app
from tests.cli.conftest import Cli

HELP_S_MAX = 0.4
NOWHERE = {
    "DATABASE_URL": "postgresql://postgres:do-not-tell@127.0.0.1:1/nothing",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "OPENAI_API_KEY": "sk-do-not-tell",
}
WITHOUT_ADDRESSES = {"demo", "up", "schema", "asyncapi", "validate"}


def _commands(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
        return
    for name, child in children.items():
        yield from _commands(child, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_an_example_of_itself(path: tuple[str, ...]) -> None:
    """The example begins as the command does."""
    command = COMMANDS[path]
    assert getattr(command, "help", None)
    assert str(getattr(command, "epilog", "")).startswith(f"Example: draft-pipeline {' '.join(path)}")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_argument_and_option_is_explained(path: tuple[str, ...]) -> None:
    """In the help of its command."""
    unexplained = [each.name for each in getattr(COMMANDS[path], "params", ()) if not getattr(each, "help", None)]
    assert unexplained == []


@pytest.mark.parametrize("path", [path for path in COMMANDS if path[0] not in ("demo",)], ids=" ".join)
def test_every_command_takes_an_env_file(path: tuple[str, ...]) -> None:
    """Accepted after any command."""
    options = {option for each in getattr(COMMANDS[path], "params", ()) for option in each.opts}
    assert "--env-file" in options


async def test_help_comes_at_once(cli: Cli) -> None:
    """Heavy modules are imported by the commands that need them only."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        ended = await cli("--help", env={})
        took.append(time.perf_counter() - began)
        assert ended.code == 0
    assert min(took) < HELP_S_MAX * 2, statistics.median(took)  # twice: other tests run on this machine too


@pytest.mark.parametrize(
    "arguments",
    [
        ("workspace", "list"),
        ("runs", "list"),
        ("switch", "list"),
        ("policy", "list"),
        ("migrate",),
        ("topics", "check"),
        ("lag",),
        ("idle", "--timeout", "1"),
        ("dead-letters", "list"),
        ("explain", "00000000-0000-0000-0000-000000000000"),
        ("web",),
        ("worker",),
    ],
    ids=" ".join,
)
async def test_what_does_not_answer_is_one_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Exit code 1, the variable's name, no traceback, no password."""
    ended = await cli(*arguments, env=NOWHERE)
    lines = [line for line in ended.err.splitlines() if line.startswith("draft-pipeline: ")]
    assert (ended.code, len(lines)) == (1, 1), ended.err
    assert "DATABASE_URL" in lines[0] or "KAFKA_BOOTSTRAP_SERVERS" in lines[0]
    assert "do-not-tell" not in ended.err + ended.out


@pytest.mark.parametrize("arguments", [("worker",), ("migrate",), ("workspace", "list"), ("topics", "create")])
async def test_a_missing_address_is_wrong_use_and_named(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Exit code 2 and one line."""
    ended = await cli(*arguments, env={})
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "is not set" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("schema", "no-such-event"),
        ("explain", "no-uuid"),
        ("runs", "show", "no-uuid"),
        ("runs", "list", "--status", "SLEEPING"),
        ("policy", "apply", "--reason", "r"),
        ("policy", "apply", "--campaign", "c", "--threshold", "0.5", "--reason", "r"),
        ("dead-letters", "show", "here"),
        ("dead-letters", "retry"),
        ("produce",),
        ("migrate", "--when", "never"),
        ("workspace", "list", "--env-file", "no-such-file"),
    ],
    ids=" ".join,
)
async def test_wrong_use_is_exit_code_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Nothing is tried."""
    env = {**NOWHERE}
    assert (await cli(*arguments, env=env)).code == 2


async def test_unknown_ids_are_problems(cli: Cli) -> None:
    """Exit code 1 and one line that says what is unknown."""
    nobody = "00000000-0000-0000-0000-000000000000"
    for arguments in (
        ("explain", nobody),
        ("runs", "show", nobody),
        ("runs", "retry", nobody),
        ("workspace", "show", "x"),
    ):
        ended = await cli(*arguments)
        assert (ended.code, len(ended.err.splitlines())) == (1, 1), ended.err
        assert "is unknown" in ended.err


async def test_a_schema_validates_what_the_contract_allows(cli: Cli) -> None:
    """`schema inbound-message` prints JSON Schema that accepts a message and refuses a broken one."""
    ended = await cli("schema", "inbound-message", env={})
    message = {
        "schema_version": 1,
        "message_id": "m",
        "workspace_id": "w",
        "lead_id": "l",
        "channel": "email",
        "received_at": "2026-11-02T08:00:00Z",
        "body": "",
    }
    validator = jsonschema.Draft202012Validator(ended.json)
    assert validator.is_valid(message)
    assert not validator.is_valid({**message, "channel": "fax"})
    assert not validator.is_valid({name: value for name, value in message.items() if name != "lead_id"})


async def test_a_schema_is_json_on_stdout_alone(cli: Cli) -> None:
    """A program may read it."""
    listed = await cli("schema", env={})
    assert "draft-outcome  public" in listed.out.splitlines()
    for line in listed.out.splitlines():
        printed = json.loads((await cli("schema", line.split()[0], env={})).out)
        assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
