"""Topics: created, checked, never guessed. A worker that consumes a topic that is not there loops silently."""

from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from app.config import Config, kafka_kwargs
from schemas.topics import TOPICS, Topic


@dataclass(frozen=True)
class TopicState:
    """What a topic is and what differs from the table; `partitions` is 0 when it is missing."""

    name: str
    partitions: int
    differences: tuple[str, ...]


async def _admin(config: Config) -> AIOKafkaAdminClient:
    client = AIOKafkaAdminClient(**kafka_kwargs(config))
    await client.start()
    return client


async def create_topics(config: Config, replication: int) -> list[str]:
    """Create what is missing; returns the names created. Raises KafkaError when the broker refuses."""
    client = await _admin(config)
    try:
        existing = set(await client.list_topics())
        missing = [topic for topic in TOPICS.values() if topic.name not in existing]
        if missing:
            response = await client.create_topics([_new(topic, replication) for topic in missing])
            for name, code, *_ in response.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    raise error(f"topic {name} could not be created")
        return [topic.name for topic in missing]
    finally:
        await client.close()


def _new(topic: Topic, replication: int) -> NewTopic:
    return NewTopic(topic.name, topic.partitions, replication, topic_configs=topic.config)


async def missing_topics(config: Config, names: list[str]) -> list[str]:
    """Which of `names` the broker does not have."""
    client = await _admin(config)
    try:
        existing = set(await client.list_topics())
        return [name for name in names if name not in existing]
    finally:
        await client.close()


async def check_topics(config: Config) -> list[TopicState]:
    """Every topic of the table as the broker has it, with what differs."""
    client = await _admin(config)
    try:
        existing = set(await client.list_topics())
        present = [name for name in TOPICS if name in existing]
        described = {each["topic"]: len(each["partitions"]) for each in await client.describe_topics(present)}
        configs = await _configs(client, present)
    finally:
        await client.close()
    return [_state(topic, described.get(name, 0), configs.get(name, {})) for name, topic in TOPICS.items()]


async def _configs(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    found: dict[str, dict[str, str]] = {}
    for response in await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for _, _, _, name, entries in response.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _state(topic: Topic, partitions: int, config: dict[str, str]) -> TopicState:
    if not partitions:
        return TopicState(topic.name, 0, ("missing: run `draft-pipeline topics create`",))
    differences = [
        f"{name} is {config.get(name, 'unset')}, expected {value}"
        for name, value in topic.config.items()
        if config.get(name) != value
    ]
    if partitions != topic.partitions:
        differences.insert(0, f"{partitions} partitions, default {topic.partitions}")
    return TopicState(topic.name, partitions, tuple(differences))
