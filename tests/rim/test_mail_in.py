"""Mail comes in over real sockets: accepted when the broker has it, kept by its sender when not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiosmtplib
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from agents.dead_letters import Incoming
from agents.ingest import ingest_batch
from app.config import Config
from app.kafka.inbound import InboundProducer
from app.kafka.topics import create_topics
from app.mail_in.listener import MailIn, bare, listen
from app.stack.local import LocalStack
from db.pool import Pool, create_pool, transaction
from schemas.events import InboundMessage
from schemas.ids import derive
from schemas.topics import INBOUND_MESSAGE
from tests.conftest import Database
from tests.samples import machine_mails
from tests.story.harness import config_of

HOST = "127.0.0.1"
LEAD = "ann@example.net"
SENDER = "Ann <ann@example.net>"
WORKSPACES = {
    "ws-a": {"email": {"from": "Team A <team@a.example>", "inbound": ["sales@a.example", "shared@example.com"]}},
    "ws-b": {"email": {"from": "team@b.example", "inbound": ["shared@example.com"]}},
    "ws-c": {"email": {"from": 5, "inbound": "nonsense"}},
}


@dataclass
class Post:
    """A listener with its database and broker, and where the broker stood when it began."""

    pool: Pool
    config: Config
    begins: dict[TopicPartition, int]

    @asynccontextmanager
    async def listening(self, *, lmtp: bool = False, producer: InboundProducer | None = None) -> AsyncIterator[int]:
        """Its port."""
        sender = producer or InboundProducer(self.config)
        server = await listen(MailIn(self.pool, sender), HOST, 0, lmtp=lmtp)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await sender.stop()

    async def records(self) -> list[Any]:
        """What came onto the topic since this test began."""
        async with AIOKafkaConsumer(bootstrap_servers=self.config.kafka_bootstrap_servers) as consumer:
            consumer.assign(list(self.begins))
            for partition, offset in self.begins.items():
                consumer.seek(partition, offset)
            ends, found = await consumer.end_offsets(list(self.begins)), []
            while any([await consumer.position(each) < end for each, end in ends.items()]):
                found += [r for rows in (await consumer.getmany(timeout_ms=200)).values() for r in rows]
        return found

    async def messages(self) -> list[InboundMessage]:
        return [InboundMessage.model_validate_json(record.value) for record in await self.records()]

    async def ingest(self) -> None:
        """Bring what is on the topic into the database, as ingest does."""
        batch = [Incoming(r.topic, r.partition, r.offset, r.timestamp / 1000, r.key, r.value)
                 for r in await self.records()]  # fmt: skip
        async with transaction(self.pool) as connection:
            await ingest_batch(connection, batch, frozenset())


@pytest.fixture
async def post(stack: LocalStack, database: Database) -> AsyncIterator[Post]:
    """Three workspaces with addresses, one of which makes no sense."""
    config, pool = config_of(stack), await create_pool(database.url)
    await create_topics(config, 1)
    for name, channels in WORKSPACES.items():
        await pool.execute("INSERT INTO workspace (id, default_mode) VALUES ($1, 'AI_AUTO_SEND')", name)
        await pool.execute("INSERT INTO workspace_settings (workspace_id, channels) VALUES ($1, $2)", name, channels)
    async with AIOKafkaConsumer(bootstrap_servers=config.kafka_bootstrap_servers) as consumer:
        partitions = [TopicPartition("inbound-message", number) for number in range(12)]
        begins = await consumer.end_offsets(partitions)
    yield Post(pool, config, begins)
    await pool.close()


def text(body: str = "Hello", **headers: str) -> bytes:
    head = {"From": SENDER, "Subject": "Prices", "Message-ID": "<m1@example.net>"} | headers
    return "".join(f"{name}: {value}\r\n" for name, value in head.items()).encode() + f"\r\n{body}\r\n".encode()


async def send(port: int, content: bytes, to: Sequence[str] = ("sales@a.example",), sender: str = LEAD) -> Any:
    """Hand a mail over as a mail server does. Raises aiosmtplib's errors."""
    return await aiosmtplib.send(
        content, sender=sender, recipients=list(to), hostname=HOST, port=port, start_tls=False, timeout=20
    )


async def test_a_mail_becomes_a_message_of_its_workspace(post: Post) -> None:
    """250, and the topic has it: text, subject, sender, thread, headers; the lead's id is no address."""
    async with post.listening() as port:
        await send(port, text(**{"In-Reply-To": "<zero@example.net>"}), ["Sales+spring@A.example"])
    (message,) = await post.messages()
    assert (message.workspace_id, message.channel, message.direction) == ("ws-a", "email", "inbound")
    assert (message.message_id, message.subject, message.body) == ("m1@example.net", "Prices", "Hello\n")
    assert (message.from_address, message.lead_id) == (LEAD, str(derive("lead", "ws-a", LEAD)))
    assert message.lead is not None
    assert (message.lead.name, message.lead.email) == ("Ann", LEAD)
    assert message.headers is not None
    assert message.headers["In-Reply-To"] == "<zero@example.net>"
    assert message.headers["Return-Path"] == f"<{LEAD}>"


async def test_a_lead_that_is_known_keeps_id_and_name(post: Post) -> None:
    """The address decides who wrote, whatever name stands beside it; another workspace's lead is another lead."""
    await post.pool.execute("INSERT INTO lead (workspace_id, lead_id, name, email) VALUES"
                            " ('ws-a', 'crm-7', 'Ann Known', 'ANN@example.net'), ('ws-b', 'crm-8', 'x', $1)", LEAD)  # fmt: skip
    async with post.listening() as port:
        await send(port, text(From="Somebody Else <ann@example.net>"))
    await post.ingest()
    assert [tuple(row) for row in await post.pool.fetch("SELECT lead_id FROM message")] == [("crm-7",)]
    assert await post.pool.fetchval("SELECT name FROM lead WHERE lead_id = 'crm-7'") == "Ann Known"


async def test_an_answer_goes_on_with_its_thread(post: Post) -> None:
    """By References, by In-Reply-To to a message, and by In-Reply-To to a reply of ours: one conversation."""
    async with post.listening() as port:
        await send(port, text())
        await post.ingest()
        thread = await post.pool.fetchval("SELECT thread_id FROM message")
        draft = derive("draft", "x")
        await post.pool.execute(
            "INSERT INTO ai_draft (id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, thread_id, mode,"
            " channel) SELECT $1, 'ws-a', lead_id, message_id, ingest_seq, thread_id, mode, 'email' FROM message", draft
        )  # fmt: skip
        await send(port, text(**{"Message-ID": "<m2@x>", "References": "<m1@example.net> <other@x>"}))
        await send(port, text(**{"Message-ID": "<m3@x>", "In-Reply-To": "<m1@example.net>"}))
        await send(port, text(**{"Message-ID": "<m4@x>", "In-Reply-To": f"<{draft}@a.example>"}))
        await send(port, text(**{"Message-ID": "<m5@x>"}))
    threads = {message.message_id: message.thread_id for message in await post.messages()}
    assert {threads[name] for name in ("m1@example.net", "m2@x", "m3@x", "m4@x")} == {thread}
    assert threads["m5@x"] != thread


async def test_a_mail_that_is_delivered_twice_is_one_message(post: Post) -> None:
    """A server that heard no 250 delivers again: the second is a repeat."""
    async with post.listening() as port:
        await send(port, text())
        await send(port, text())
    await post.ingest()
    assert await post.pool.fetchval("SELECT count(*) FROM message") == 1


async def test_an_address_that_is_nobodys_is_refused(post: Post) -> None:
    """550 for an unknown one; 451 for one that two workspaces claim, until somebody has mended it."""
    async with post.listening() as port:
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as unknown:
            await send(port, text(), ["nobody@a.example"])
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as claimed:
            await send(port, text(), ["shared@example.com"])
    assert [each.recipients[0].code for each in (unknown.value, claimed.value)] == [550, 451]
    assert await post.records() == []


async def test_without_a_broker_the_sender_keeps_the_mail(post: Post) -> None:
    """451, not 250: what is not on the topic was not taken."""
    away = InboundProducer(post.config.model_copy(update={"kafka_bootstrap_servers": f"{HOST}:1"}))
    async with post.listening(producer=away) as port:
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await send(port, text())
    assert refused.value.code == 451
    assert await post.records() == []


async def test_a_mail_too_large_for_the_topic_is_refused_for_good(post: Post) -> None:
    """554, not 451: tried again it is as large. The producer that all mails share stays as it was."""
    blown_up = text(**{f"X-{number}": "\x01" * 8_000 for number in range(190)})
    producer = InboundProducer(post.config)
    async with post.listening(producer=producer) as port:
        await send(port, text())
        used = await producer.started()
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await send(port, blown_up)
        assert await producer.started() is used
        await send(port, text(**{"Message-ID": "<m2@example.net>"}))
    assert refused.value.code == 554
    assert len(await post.records()) == 2


async def test_what_the_broker_finds_too_large_is_refused_for_good(post: Post) -> None:
    """The topic of an installation may take less than ours does: that is no broker that is away."""
    admin = AIOKafkaAdminClient(bootstrap_servers=post.config.kafka_bootstrap_servers)
    await admin.start()

    async def limit(**changed: str) -> None:
        settings = INBOUND_MESSAGE.config | changed
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, INBOUND_MESSAGE.name, settings)])

    large = text(**{f"X-{number}": "x" * 8_000 for number in range(20)})
    try:
        await limit(**{"max.message.bytes": "100000"})
        async with post.listening() as port:
            await send(port, text())
            assert await _answer(port, large) == 554
            assert await _answer(port, text()) == 250
    finally:
        await limit()
        await admin.close()


async def _answer(port: int, content: bytes) -> int:
    """The code that the sender hears."""
    try:
        await send(port, content)
    except aiosmtplib.SMTPDataError as error:
        return error.code
    return 250


async def test_without_a_database_the_sender_keeps_the_mail(stack: LocalStack, post: Post) -> None:
    """451 at the recipient already: nobody knows whose mail it is."""
    away = Pool(stack.postgres.url.replace(str(stack.postgres.port), "1"), 1, "away")
    server = await listen(MailIn(away, InboundProducer(post.config)), HOST, 0, lmtp=False)
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await send(server.sockets[0].getsockname()[1], text())
    server.close()
    assert refused.value.recipients[0].code == 451


async def test_lmtp_answers_for_each_recipient(post: Post) -> None:
    """RFC 2033: one reply per accepted recipient; two workspaces get a message each, two addresses of one a single one."""
    async with post.listening(lmtp=True) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        said = [await reader.readline()]
        for line in ("LHLO mx", f"MAIL FROM:<{LEAD}>", "RCPT TO:<sales@a.example>", "RCPT TO:<team@a.example>",
                     "RCPT TO:<team@b.example>", "DATA"):  # fmt: skip
            writer.write(f"{line}\r\n".encode())
            while (answer := await reader.readline())[3:4] == b"-":
                pass
            said.append(answer)
        writer.write(text() + b".\r\n")
        answers = [(await asyncio.wait_for(reader.readline(), 20))[:3] for _ in range(3)]
        writer.close()
    assert answers == [b"250"] * 3
    assert sorted(message.workspace_id for message in await post.messages()) == ["ws-a", "ws-b"]


async def test_every_sample_mail_arrives_and_no_machine_is_answered(
    post: Post, capsys: pytest.CaptureFixture[str]
) -> None:
    """All sample mails over a real socket and the real topic into the tables: none lost, none refused by the database,
    and at most 2 % of them would be answered."""
    mails = machine_mails()
    async with post.listening() as port:
        client = aiosmtplib.SMTP(hostname=HOST, port=port, start_tls=False)
        async with client:
            for raw in mails.values():
                await client.sendmail("", ["sales@a.example"], raw)
    await post.ingest()
    rows = await post.pool.fetch("SELECT disposition, count(*) AS count FROM message GROUP BY 1")
    gates = {row["disposition"]: row["count"] for row in rows}
    repeated = len(mails) - sum(gates.values())
    with capsys.disabled():
        print(f"\nmails in: {len(mails)}, of which repeats by their id {repeated}, by gate {gates}")
    assert len(await post.messages()) == len(mails)
    assert gates.get("waiting", 0) <= 0.02 * len(mails)
    assert await post.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'dead-letter'") == 0


@pytest.mark.parametrize(("address", "found"), [("A+x@B.Example", "a@b.example"), ("a@b", "a@b"), ("+x@b", "@b")])
def test_addresses_are_looked_up_without_what_people_add(address: str, found: str) -> None:
    """Case and plus-tags do not count."""
    assert bare(address) == found


def test_headers_of_a_record_say_nothing_of_the_mail() -> None:
    """What a trace or a log may show of a record is its key: an id that holds no address."""
    message = json.loads(InboundMessage.model_validate(
        {"schema_version": 1, "message_id": "m", "workspace_id": "w", "lead_id": str(derive("lead", "w", LEAD)),
         "channel": "email", "received_at": "2026-01-01T00:00:00Z", "body": ""}).model_dump_json())  # fmt: skip
    assert "@" not in message["lead_id"]
