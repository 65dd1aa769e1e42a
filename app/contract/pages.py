"""One page per public topic, for those who write to it or read it. Facts come from the events and the topic table."""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.contract import examples
from app.contract.checking import REMEDY
from schemas.codes import DeadLetterReason
from schemas.events import PUBLIC_EVENTS, InboundMessage
from schemas.topics import DEAD_LETTER, TOPICS, Topic

_WIDTH: Final = 120
_TWICE: Final = (
    "Delivery is at least once: an event may come again, with the same `event_id`. Keep the `event_id` with what you "
    "do, in one transaction, and do nothing when it is there already."
)


@dataclass(frozen=True)
class _Words:
    """What no schema says."""

    purpose: str
    order: str
    errors: str


_ON_INPUT: Final = (
    "A record that cannot be used never stops anything: it goes to `dead-letter` with its bytes and key as they came "
    "and the reason in the header `dlq_reason`; `dlq_error` names the field. A repeat of a `message_id` is dropped "
    "without a letter. `draft-pipeline validate FILE` finds all of this before anything is sent, except an unknown "
    "workspace."
)
_WORDS: Final[dict[str, _Words]] = {
    "inbound-message": _Words(
        "Put a message here when somebody wrote to a workspace, and also (`direction` `outbound`) when a person or "
        "another system answered, so that nothing is answered twice. One record a message.",
        "None is needed for a right answer. Which of a lead's messages is the newest is decided by the order in which "
        "they were stored; keyed by `lead_id` they are read in the order in which you sent them. A message that comes "
        "while an earlier one waits is answered together with it.",
        _ON_INPUT,
    ),
    "draft-evaluated": _Words(
        "Read it to know how sure the pipeline is of each draft, and which rules forbid sending it. One event per "
        "draft that was judged.",
        "Not promised. Each draft has one event here; `revision-result` and `draft-outcome` of the same `draft_id` "
        "may be read before it.",
        "`confidence` is null when the evaluator gave no usable answer; such a draft is never sent by itself.",
    ),
    "revision-result": _Words(
        "Read it to know whether a draft was revised, what that changed and what it cost. Exactly one event per "
        "evaluated draft, also when no revision was tried: `outcome` says why.",
        "Not promised. Each draft has one event here.",
        "`revision_confidence` is null when no revised text was judged, `model` and `reasoning_effort` when none was "
        "attempted.",
    ),
    "draft-outcome": _Words(
        "Read it to know what became of a draft: sent, put to a person, approved, edited, rejected, expired. One "
        "event per change.",
        "Not promised. `sequence` counts the outcomes of one draft: the highest is the present one, whatever came "
        "last.",
        "`status` `unknown` says that a message may have been sent and nobody can tell: nothing sends it again unless"
        " a person confirms it. `refused` says that the provider did not take it.",
    ),
}


def page(topic_name: str) -> str:
    """The page as Markdown. Raises KeyError for a topic that is not public."""
    topic, words, event = TOPICS[topic_name], _WORDS[topic_name], PUBLIC_EVENTS[topic_name]
    inbound = topic_name == InboundMessage.topic
    lines = [
        f"# {topic.name}",
        "",
        "Made by `make contract`; a test keeps it true. Fields: "
        f"[JSON Schema](../contract/{topic.name}.json), [data dictionary](../data-dictionary.md#{topic.name}), "
        "[AsyncAPI](../contract/asyncapi.json).",
        "",
        "## Purpose",
        "",
        (event.__doc__ or "").strip(),
        "",
        words.purpose,
        "",
        *_key(inbound),
        "## Ordering",
        "",
        words.order,
        "",
        *_retention(topic),
        "## Errors",
        "",
        words.errors if inbound else f"{_TWICE} {words.errors}",
        "",
        *(_reasons() if inbound else []),
        *_example(topic_name),
        *(_writing() if inbound else _reading(topic_name)),
    ]
    return "\n".join(_wrapped(lines)).rstrip("\n") + "\n"


def _wrapped(lines: list[str]) -> Iterator[str]:
    """Prose as wide as the other documents; code and tables stay."""
    code = False
    for line in lines:
        code ^= line.startswith("```")
        if code or not line or line[0] in "|`#":
            yield line
        else:
            yield from textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _key(inbound: bool) -> list[str]:
    told = (
        "The bytes of `lead_id`, for locality. Another key, or none, gives the same results."
        if inbound
        else "The bytes of `lead_id`, for locality."
    )
    headers = (
        "CloudEvents 1.0 in binary mode (`ce_id`, `ce_type`, `ce_source`, `ce_specversion`, `ce_time`, "
        "`content-type`) and W3C `traceparent`; "
        + ("all optional. A trace that you give goes on to the delivery." if inbound else "all set.")
    )
    return ["## Key and headers", "", told, "", headers, ""]


def _retention(topic: Topic) -> list[str]:
    bound = f", records of at most {topic.record_bytes_max:,} bytes" if topic.record_bytes_max else ""
    config = ", ".join(f"`{name}={value}`" for name, value in topic.config.items())
    return [
        "## Retention",
        "",
        f"As `draft-pipeline topics create` sets it: {topic.retention_days} days, {topic.partitions} partitions{bound} "
        f"({config}).",
        "",
    ]


def _reasons() -> list[str]:
    """Why a record of a producer becomes a dead letter."""
    rows = [f"| `{reason}` | {REMEDY[reason]} |" for reason in DeadLetterReason]
    kept = f"Letters are kept {DEAD_LETTER.retention_days} days."
    return ["| `dlq_reason` | what to do |", "|---|---|", *rows, "", kept, ""]


def _example(topic: str) -> list[str]:
    return ["## Example", "", *_block("json", json.dumps(examples.payload(topic), indent=2, ensure_ascii=False)), ""]


def _block(language: str, content: str) -> list[str]:
    return [f"```{language}", *content.strip("\n").split("\n"), "```"]


# ---- snippets; `message.json` is the example above


def _writing() -> list[str]:
    trace = examples.headers(InboundMessage.topic)["traceparent"]
    key = examples.payload(InboundMessage.topic)["lead_id"]
    return [
        "## Write to it",
        "",
        (
            "Save the example as `message.json`, with a workspace of yours, and check it: `draft-pipeline validate "
            "message.json`."
        ),
        "",
        "kcat (a file is one record; `-l` makes each line one):",
        "",
        *_block("sh", _KCAT_WRITE.format(key=key, trace=trace)),
        "",
        "Python (aiokafka):",
        "",
        *_block("python", _PYTHON_WRITE),
        "",
        "Without Kafka, with a token of the workspace's admin (202 once the broker has it, 422 names each wrong "
        "field, on 503 send the same again):",
        "",
        *_block("sh", _CURL_WRITE.format(trace=trace)),
    ]


def _reading(topic: str) -> list[str]:
    return [
        "## Read from it",
        "",
        "kcat (all that is there, then it ends):",
        "",
        *_block("sh", _KCAT_READ.format(topic=topic)),
        "",
        "Python (aiokafka):",
        "",
        *_block("python", _PYTHON_READ.replace("TOPIC", topic)),
        "",
        f"For people: `draft-pipeline tail {topic} --from 15m`. Over HTTP, the run that an event names (`run_id`):",
        "",
        *_block("sh", _CURL_READ),
    ]


_KCAT_WRITE: Final = """
kcat -P -b "$KAFKA_BOOTSTRAP_SERVERS" -t inbound-message -k {key} -H content-type=application/json \\
     -H traceparent={trace} message.json
"""
_PYTHON_WRITE: Final = """
import asyncio
import json
import os
from pathlib import Path

from aiokafka import AIOKafkaProducer


async def main() -> None:
    message = json.loads(Path("message.json").read_text("utf-8"))
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"], acks="all", enable_idempotence=True
    )
    await producer.start()
    try:
        await producer.send_and_wait(
            "inbound-message",
            json.dumps(message).encode(),
            key=message["lead_id"].encode(),
            headers=[("content-type", b"application/json")],
        )
    finally:
        await producer.stop()


asyncio.run(main())
"""
_CURL_WRITE: Final = """
curl -fsS -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
     -H "traceparent: {trace}" \\
     --data-binary @message.json "$PUBLIC_URL/api/inbound-messages"
"""
_KCAT_READ: Final = """
kcat -C -b "$KAFKA_BOOTSTRAP_SERVERS" -t {topic} -o beginning -e -f '%k %s\\n'
"""
_PYTHON_READ: Final = """
import asyncio
import json
import os

from aiokafka import AIOKafkaConsumer


async def main() -> None:
    consumer = AIOKafkaConsumer(
        "TOPIC",
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        group_id="my-service",
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        async for record in consumer:
            event = json.loads(record.value)
            print(event["event_id"], event["draft_id"])  # here: store it, unless this event_id is stored already
            await consumer.commit()
    finally:
        await consumer.stop()


asyncio.run(main())
"""
_CURL_READ: Final = """
curl -fsS -H "Authorization: Bearer $TOKEN" "$PUBLIC_URL/api/runs/$RUN_ID"
"""
