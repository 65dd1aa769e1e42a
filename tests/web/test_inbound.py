"""`POST /api/inbound-messages`: what is taken is on the topic where the answer says, what is not is said by field."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx2
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app.kafka.inbound import InboundProducer
from app.kafka.topics import create_topics
from app.stack.local import LocalStack
from app.web.cloud_events import NotUnderstood, read_request
from app.web.inbound import MESSAGES_MAX
from schemas.codes import Role
from schemas.limits import INBOUND_RECORD_BYTES_MAX
from tests.samples import json_files, naughty_strings
from tests.web.conftest import Site
from tests.web.seeding import OTHER, OWN

PATH = "/api/inbound-messages"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET_WORDS = "nobody's business"


def message(number: int = 1, **changes: Any) -> dict[str, Any]:
    fields = {"schema_version": 1, "message_id": f"http-{number}", "workspace_id": OWN, "lead_id": "lead-http",
              "channel": "chat", "received_at": datetime.now(UTC).isoformat(), "body": "hello"}  # fmt: skip
    return fields | changes


@pytest.fixture
async def program(site: Site) -> AsyncIterator[httpx2.AsyncClient]:
    """A producer with the workspace admin's token, and a broker that has the topics."""
    await create_topics(site.web.config, 1)
    async with site.program(Role.WORKSPACE_ADMIN, OWN) as client:
        yield client


async def record_at(site: Site, place: dict[str, Any]) -> Any:
    """What the broker has where an answer says."""
    async with AIOKafkaConsumer(bootstrap_servers=site.web.config.kafka_bootstrap_servers) as consumer:
        partition = TopicPartition(place["topic"], place["partition"])
        consumer.assign([partition])
        consumer.seek(partition, place["offset"])
        return await consumer.getone()


async def test_a_message_is_on_the_topic_where_the_answer_says(site: Site, program: httpx2.AsyncClient) -> None:
    """202 with topic, partition and offset: the record there is the message, keyed by its lead, in the caller's trace."""
    sent = message(body="grüße 👋", direction="outbound", sent_by="ann", lead={"name": "Bob"})
    answer = await program.post(PATH, json=sent, headers={"traceparent": TRACE})
    assert answer.status_code == 202, answer.text
    place = answer.json()
    assert (place["message_id"], place["topic"]) == ("http-1", "inbound-message")
    record = await record_at(site, place)
    value = json.loads(record.value)
    assert {name: value[name] for name in ("body", "direction", "sent_by", "lead")} == {
        name: sent[name] for name in ("body", "direction", "sent_by", "lead")
    }
    assert (record.key, dict(record.headers)["traceparent"]) == (b"lead-http", TRACE.encode())


@pytest.mark.parametrize("kind", ["binary", "structured", "base64", "batch", "list"])
async def test_every_way_to_send_lands_the_same_message(site: Site, program: httpx2.AsyncClient, kind: str) -> None:
    """CloudEvents in each of its HTTP forms, and a plain list: the same record, with the event's attributes as headers."""
    body, attributes = message(), {"specversion": "1.0", "id": "e-1", "source": "/crm", "type": "note.taken"}
    encoded = json.dumps(body).encode()
    event = attributes | {"data": body}
    requests: dict[str, tuple[bytes, dict[str, str]]] = {
        "binary": (encoded, {"content-type": "application/json"} | {f"ce-{k}": v for k, v in attributes.items()}),
        "structured": (json.dumps(event).encode(), {"content-type": "application/cloudevents+json; charset=utf-8"}),
        "base64": (
            json.dumps(attributes | {"data_base64": base64.b64encode(encoded).decode()}).encode(),
            {"content-type": "application/cloudevents+json"},
        ),
        "batch": (json.dumps([event]).encode(), {"content-type": "application/cloudevents-batch+json"}),
        "list": (json.dumps([body]).encode(), {"content-type": "application/json"}),
    }
    content, headers = requests[kind]
    answer = await program.post(PATH, content=content, headers=headers)
    assert answer.status_code == 202, answer.text
    found = answer.json()
    record = await record_at(site, found["accepted"][0] if kind in ("batch", "list") else found)
    assert json.loads(record.value)["message_id"] == "http-1"
    told = {name: value.decode() for name, value in record.headers}
    expected = {"content-type": "application/json"}
    if kind != "list":
        expected |= {f"ce_{name}": value for name, value in attributes.items()}
    assert told == expected


async def test_each_wrong_field_is_named_and_no_value_repeated(program: httpx2.AsyncClient) -> None:
    """422 with index, field and kind of mistake for every field of every message; nothing of the batch is sent."""
    wrong = message(2, channel=SECRET_WORDS, received_at="yesterday", lead={"name": SECRET_WORDS * 300},
                    headers={SECRET_WORDS * 1000: "x"})  # fmt: skip
    del wrong["lead_id"]
    answer = await program.post(PATH, json=[message(), wrong, SECRET_WORDS])
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert {(each["index"], each["field"]) for each in errors} == {
        (1, "channel"), (1, "received_at"), (1, "lead.name"), (1, "lead_id"), (1, "headers"), (2, "body")
    }  # fmt: skip
    assert SECRET_WORDS not in answer.text


@pytest.mark.parametrize(
    ("content", "headers", "status", "error"),
    [
        (b"{", {}, 400, "not_json"),
        (b"\xff\xfe", {}, 400, "not_utf8"),
        (b'{"body": "\\ud800"}', {}, 400, "bad_text"),
        (b"[" * 100_000, {}, 400, "too_deep"),
        (b"hello", {"content-type": "text/plain"}, 415, "not_json"),
        (b"{}", {"ce-specversion": "1.0", "ce-id": "1"}, 400, "attribute_missing"),
        (b"{}", {"ce-specversion": "0.3", "ce-id": "1", "ce-source": "s", "ce-type": "t"}, 400, "unknown_version"),
        (b"{}", {"content-type": "application/cloudevents-batch+json"}, 400, "not_a_list"),
        (b'{"specversion": 1}', {"content-type": "application/cloudevents+json"}, 400, "attribute_missing"),
    ],
)
async def test_what_is_no_message_is_refused_with_a_code(
    program: httpx2.AsyncClient, content: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    """No JSON, no CloudEvent, another content type."""
    answer = await program.post(PATH, content=content, headers={"content-type": "application/json", **headers})
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_too_much_is_refused(program: httpx2.AsyncClient) -> None:
    """More than 8 MiB, more messages than a batch may have, a body above its limit."""
    huge = b" " * (INBOUND_RECORD_BYTES_MAX + 1)
    assert (await program.post(PATH, content=huge)).status_code == 413
    assert (await program.post(PATH, json=[{}] * (MESSAGES_MAX + 1))).status_code == 413
    answer = await program.post(PATH, json=message(body="x" * 65_537))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")


async def test_a_message_that_grows_too_large_for_the_topic_is_refused_for_good(program: httpx2.AsyncClient) -> None:
    """What we write is a little longer than what came: 413, as for what came too large, not a broker that is away."""
    write = partial(json.dumps, separators=(",", ":"))
    headers = {f"x-{number}": "\x01" * 8_000 for number in range(174)}
    room = INBOUND_RECORD_BYTES_MAX - len(write(message(headers=headers | {"pad": ""})))
    content = write(message(headers=headers | {"pad": "\x01" * (room // len("\\u0001"))}))
    answer = await program.post(PATH, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (413, {"error": "too_large"})


async def test_a_token_posts_for_its_workspace_only(site: Site, program: httpx2.AsyncClient) -> None:
    """Another workspace, and one that is not there, look the same; a role that may not post is refused."""
    for workspace in (OTHER, "nowhere"):
        answer = await program.post(PATH, json=[message(), message(2, workspace_id=workspace)])
        assert (answer.status_code, answer.json()) == (404, {"error": "unknown_workspace", "indexes": [1]})
    async with site.program(Role.REVIEWER, OWN) as reviewer:
        assert (await reviewer.post(PATH, json=message())).status_code == 403
    async with site.visitor() as nobody:
        assert (await nobody.post(PATH, json=message())).status_code == 401
    async with site.program(Role.SUPER_ADMIN) as admin:
        assert (await admin.post(PATH, json=message(3, workspace_id=OTHER))).status_code == 202


async def test_without_a_broker_nothing_is_called_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and when to try again; the message is not lost by the caller's belief that we have it."""
    away = InboundProducer(site.web.config.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"}))
    monkeypatch.setattr(site.web, "inbound", away)
    async with site.program(Role.WORKSPACE_ADMIN, OWN) as client:
        answer = await client.post(PATH, json=message())
    assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (503, "broker_away", "5")


async def test_a_broker_that_comes_back_takes_the_next_message(
    stack: LocalStack, site: Site, program: httpx2.AsyncClient
) -> None:
    """A producer that failed is replaced: after a refusal the same process sends again."""
    await site.web.inbound.stop()
    assert (await program.post(PATH, json=message(4))).status_code == 202


# ---- reading, without a server


def refusal(headers: dict[str, str], body: bytes) -> NotUnderstood | None:
    """Why a request is refused, None when it is read."""
    try:
        read_request(headers, body)
    except NotUnderstood as error:
        return error
    return None


@given(st.binary(max_size=200), st.sampled_from(["application/json", "application/cloudevents+json", "text/html", ""]))
def test_no_request_breaks_the_reader(body: bytes, media: str) -> None:
    """Whatever arrives is read or refused with a code."""
    refused = refusal({"content-type": media}, body)
    assert refused is None or refused.status in (400, 415)


def test_hostile_documents_break_nothing() -> None:
    """JSON at its edges, naughty strings as attributes: read, or refused with a code."""
    for content in json_files().values():
        for media in ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json"):
            refused = refusal({"content-type": media}, content)
            assert refused is None or refused.status == 400
    for text in naughty_strings():
        headers = {"content-type": "application/json", "ce-specversion": "1.0", "ce-id": text, "ce-source": "s"}
        refused = refusal(headers | {"ce-type": "t"}, b"{}")
        assert refused is None or refused.code == "attribute_malformed"
