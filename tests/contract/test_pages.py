"""The pages of the topics: made from what is true, with examples that hold."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import aiokafka
import jsonschema
import pytest

from app.contract import files
from app.web.inbound import router
from schemas.codes import DeadLetterReason
from schemas.events import PUBLIC_EVENTS, json_schema
from schemas.topics import TOPICS

DEPLOY = Path(__file__).parents[2] / "deploy"
HEADINGS = ["Purpose", "Key and headers", "Ordering", "Retention", "Errors", "Example"]


def _page(topic: str) -> str:
    return (DEPLOY / files.PAGES / f"{topic}.md").read_text("utf-8")


def _blocks(topic: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", _page(topic), re.DOTALL | re.MULTILINE)


def test_what_is_committed_is_what_is_made() -> None:
    """Schemas, document and pages: `make contract` would change nothing, and nothing else lies there."""
    made = files.files()
    stale = [str(path) for path, content in made.items() if (DEPLOY / path).read_text("utf-8") != content]
    assert stale == [], "run `make contract`"
    there = {
        path.relative_to(DEPLOY) for folder in (files.SCHEMAS, files.PAGES) for path in (DEPLOY / folder).glob("*.*")
    }
    assert {path for path in there if (DEPLOY / path).is_file()} == set(made)


@pytest.mark.parametrize("topic", PUBLIC_EVENTS)
def test_a_page_says_all_that_one_asks(topic: str) -> None:
    """Purpose, key, order, retention, errors, an example, and how to write or read."""
    found = re.findall(r"^## (.+)$", _page(topic), re.MULTILINE)
    assert found == [*HEADINGS, "Write to it" if topic == "inbound-message" else "Read from it"]


@pytest.mark.parametrize("topic", PUBLIC_EVENTS)
def test_a_page_names_the_true_defaults(topic: str) -> None:
    """Days, partitions and configuration as `topics create` sets them."""
    told, page = TOPICS[topic], " ".join(_page(topic).split())
    assert f"{told.retention_days} days, {told.partitions} partitions" in page
    assert [name for name, value in told.config.items() if f"`{name}={value}`" not in page] == []


@pytest.mark.parametrize("topic", PUBLIC_EVENTS)
def test_the_example_on_a_page_is_valid(topic: str) -> None:
    """By the JSON Schema with its formats, and by the event itself."""
    (block,) = _blocks(topic, "json")
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(json_schema(topic), format_checker=checker).validate(json.loads(block))
    PUBLIC_EVENTS[topic].model_validate(json.loads(block))


@pytest.mark.parametrize("topic", PUBLIC_EVENTS)
def test_the_python_on_a_page_compiles_and_calls_what_is_there(topic: str) -> None:
    """It names this topic, and of aiokafka only what that has."""
    (block,) = _blocks(topic, "python")
    tree = ast.parse(block)
    compile(tree, topic, "exec")
    (imported,) = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "aiokafka"]
    client = getattr(aiokafka, imported.names[0].name)
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert [
        name for name in ("start", "stop", "send_and_wait", "commit") if name in names and not hasattr(client, name)
    ] == []
    assert f'"{topic}"' in block


@pytest.mark.parametrize("topic", PUBLIC_EVENTS)
def test_the_shell_on_a_page_names_the_topic_and_no_address(topic: str) -> None:
    """kcat and curl, each once; addresses come from the environment."""
    kcat, curl = _blocks(topic, "sh")
    assert f'-b "$KAFKA_BOOTSTRAP_SERVERS" -t {topic} ' in kcat
    assert '"$PUBLIC_URL/api/' in curl
    assert "127.0.0.1" not in _page(topic)


def test_the_path_that_curl_posts_to_is_there() -> None:
    """The page of `inbound-message` names a route of the web process."""
    (path,) = [path for route in router.routes if (path := getattr(route, "path", ""))]
    assert f'"$PUBLIC_URL{path}"' in _blocks("inbound-message", "sh")[1]


def test_every_reason_of_a_dead_letter_has_its_remedy() -> None:
    """A row each on the page of what producers write."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", _page("inbound-message"), re.MULTILINE)
    assert [reason for reason, _ in rows[1:]] == [reason.value for reason in DeadLetterReason]
