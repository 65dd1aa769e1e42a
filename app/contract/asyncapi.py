"""The contract as an AsyncAPI 3.0 document, made from the events and the table of topics.

Source: AsyncAPI 3.0.0, Kafka bindings 0.5.0. Operations are ours: what an agent reads is `receive`.
"""

from typing import Any, Final

from app import __version__
from app.contract import examples
from app.groups import GROUPS
from schemas.events import PUBLIC_EVENTS, Event, InboundMessage, json_schema
from schemas.topics import DEAD_LETTER, INBOUND_MESSAGE, TOPICS, Topic

_BINDING: Final = "0.5.0"
_JSON: Final = "application/json"
_BYTES: Final = "application/octet-stream"
_TEXT: Final[dict[str, Any]] = {"type": "string"}

CLOUD_EVENT: Final[dict[str, dict[str, Any]]] = {
    "ce_id": {**_TEXT, "description": "CloudEvents: id of the event"},
    "ce_type": {**_TEXT, "description": "CloudEvents: kind and version of the event"},
    "ce_source": {**_TEXT, "description": "CloudEvents: who wrote it"},
    "ce_specversion": {**_TEXT, "const": "1.0", "description": "CloudEvents: version of the headers"},
    "ce_time": {**_TEXT, "format": "date-time", "description": "CloudEvents: when it became true"},
    "content-type": {**_TEXT, "const": _JSON, "description": "Media type of the value"},
}
TRACEPARENT: Final = {**_TEXT, "description": "W3C trace context: one trace from the producer to the delivery"}
LETTER: Final[dict[str, dict[str, Any]]] = {
    "dlq_reason": {**_TEXT, "description": "Code of the reason"},
    "dlq_error": {**_TEXT, "description": "A field of ours and the kind of mistake, never what was sent"},
    "dlq_topic": {**_TEXT, "description": "The topic it was on"},
    "dlq_partition": {**_TEXT, "pattern": "^[0-9]+$", "description": "Its partition there"},
    "dlq_offset": {**_TEXT, "pattern": "^[0-9]+$", "description": "Its offset there"},
    "dlq_attempts": {**_TEXT, "pattern": "^[0-9]+$", "description": "How often it was tried"},
    "dlq_at": {**_TEXT, "format": "date-time", "description": "When it was given up"},
}


def document() -> dict[str, Any]:
    """The document: public topics and the dead letters. Every `$ref` is to a place in it."""
    topics = [*(TOPICS[name] for name in PUBLIC_EVENTS), DEAD_LETTER]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "draft-pipeline",
            "version": __version__,
            "description": "Answers inbound messages. Consumers ignore fields they do not know; delivery is at least "
            "once; order on a topic is not promised. A change that breaks is a new version, never a new meaning.",
        },
        "defaultContentType": _JSON,
        "servers": {"kafka": _server()},
        "channels": {topic.name: _channel(topic) for topic in topics},
        "operations": {_operation_name(topic): _operation(topic) for topic in topics},
        "components": {
            "messages": {
                **{name: _message(event) for name, event in PUBLIC_EVENTS.items()},
                DEAD_LETTER.name: _letter(),
            },
            "schemas": {name: _payload(name) for name in PUBLIC_EVENTS},
        },
    }


def _server() -> dict[str, Any]:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "Your brokers",
        "variables": {"bootstrap": {"description": "Host and port, as in KAFKA_BOOTSTRAP_SERVERS"}},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    config = topic.config
    kept: dict[str, Any] = {
        "cleanup.policy": config["cleanup.policy"].split(","),
        "retention.ms": int(config["retention.ms"]),
    }
    if topic.record_bytes_max is not None:
        kept["max.message.bytes"] = topic.record_bytes_max
    return {
        "address": topic.name,
        "description": topic.purpose.capitalize(),
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {topic.name: {"$ref": f"#/components/messages/{topic.name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": kept,
                "bindingVersion": _BINDING,
            }
        },
    }


def _operation_name(topic: Topic) -> str:
    """`receiveInboundMessage`, `sendDraftOutcome`."""
    return _action(topic) + "".join(part.capitalize() for part in topic.name.split("-"))


def _action(topic: Topic) -> str:
    return "receive" if topic is INBOUND_MESSAGE else "send"


def _operation(topic: Topic) -> dict[str, Any]:
    told: dict[str, Any] = {
        "action": _action(topic),
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "messages": [{"$ref": f"#/channels/{topic.name}/messages/{topic.name}"}],
    }
    if topic is INBOUND_MESSAGE:
        group = {"type": "string", "const": GROUPS[topic.name]}
        told["bindings"] = {"kafka": {"groupId": group, "bindingVersion": _BINDING}}
    return told


def _message(event: type[Event]) -> dict[str, Any]:
    """Headers are optional on input and always set on output."""
    headers: dict[str, Any] = {"type": "object", "properties": {**CLOUD_EVENT, "traceparent": TRACEPARENT}}
    if event is not InboundMessage:
        headers["required"] = list(headers["properties"])
    return {
        "name": event.topic,
        "summary": (event.__doc__ or "").strip(),
        "contentType": _JSON,
        "headers": headers,
        "payload": {"$ref": f"#/components/schemas/{event.topic}"},
        "bindings": _key({**_TEXT, "description": "The lead's id, for locality only: any key, or none, does no harm"}),
        "examples": [
            {"name": event.topic, "headers": examples.headers(event.topic), "payload": examples.payload(event.topic)}
        ],
    }


def _letter() -> dict[str, Any]:
    return {
        "name": DEAD_LETTER.name,
        "summary": "A record that could not be used: bytes and key as they came, the reason in headers. Restricted.",
        "contentType": _BYTES,
        "headers": {
            "type": "object",
            "required": list(LETTER),
            "properties": {**LETTER, "traceparent": TRACEPARENT},
        },
        "payload": {"description": "The original bytes; of a record too large for the topic its size and SHA-256"},
        "bindings": _key({"description": "The original key"}),
        "examples": [
            {
                "name": "not_json",
                "headers": {
                    "dlq_reason": "not_json",
                    "dlq_error": "the value is not JSON",
                    "dlq_topic": INBOUND_MESSAGE.name,
                    "dlq_partition": "3",
                    "dlq_offset": "1207",
                    "dlq_attempts": "1",
                    "dlq_at": "2026-03-02T09:00:01+00:00",
                },
                "payload": "this is no JSON",
            }
        ],
    }


def _key(schema: dict[str, Any]) -> dict[str, Any]:
    return {"kafka": {"key": schema, "bindingVersion": _BINDING}}


def _payload(name: str) -> dict[str, Any]:
    """The event's JSON Schema with its definitions in place: here `#` is the whole document."""
    schema = json_schema(name)
    inlined = _inlined({key: value for key, value in schema.items() if key not in ("$schema", "$defs")}, schema)
    assert isinstance(inlined, dict)  # noqa: S101 - for mypy: an object stays one
    return inlined


def _inlined(part: Any, schema: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inlined(each, schema) for each in part]
    if not isinstance(part, dict):
        return part
    told = {name: _inlined(value, schema) for name, value in part.items() if name != "$ref"}
    if "$ref" in part:
        return {**_inlined(schema["$defs"][part["$ref"].rpartition("/")[2]], schema), **told}
    return told
