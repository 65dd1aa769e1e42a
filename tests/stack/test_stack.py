"""Promises of the local stack's broker and database, and of the stack as a whole."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from app.stack.kafka_jars import broken_jars, classpath, jar_path, read_list
from app.stack.local import LocalStack
from app.stack.process import Child, Plan, StackError
from tests.conftest import Database

WAIT_S_MAX = 30.0
UP = """
import asyncio, sys
from pathlib import Path
from app.stack.up import run_up
without = set(filter(None, sys.argv[3].split(",")))
raise SystemExit(asyncio.run(run_up(Path(sys.argv[1]), Path(sys.argv[2]), without)))
"""


async def test_a_tool_is_waited_for_until_it_ends(tmp_path: Path) -> None:
    """Whenever it ends, its code is told, and with a bound. (A tool that ended between two looks was taken for one that
    died before it was ready.)"""
    assert await Child(Plan("three", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path)).ended(10.0) == 3
    endless = Child(Plan("endless", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path))
    with pytest.raises(StackError, match="did not end within 0 s"):
        await endless.ended(0.1)
    await endless.end(signal.SIGKILL, 10.0)


async def create_topic(stack: LocalStack) -> str:
    """A topic of its own for one test."""
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    return topic


async def produce(stack: LocalStack, topic: str, value: bytes) -> None:
    """Send one record, acknowledged."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap, enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, value)


async def consume(stack: LocalStack, topic: str, group: str | None = None) -> bytes | None:
    """The first record, read from the beginning and committed when there is a group."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=stack.kafka.bootstrap, group_id=group, auto_offset_reset="earliest"
    )
    async with consumer, asyncio.timeout(WAIT_S_MAX):
        record = await consumer.getone()
        if group:
            await consumer.commit()
        value: bytes | None = record.value
        return value


def start_up(folder: Path, env_file: Path, without: str) -> subprocess.Popen[bytes]:
    """`up` in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", UP, str(folder), str(env_file), without])


async def wait_for(condition: str, holds: object) -> None:
    """Poll until `holds()` is true."""
    assert callable(holds)
    deadline = time.monotonic() + WAIT_S_MAX
    while not holds():
        assert time.monotonic() < deadline, condition
        await asyncio.sleep(0.02)


def processes_in(folder: Path) -> list[str]:
    """The command lines that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"{folder} " in line or f"{folder}/" in line:
            found.append(line)
    return found


async def test_record_round_trip_with_group(stack: LocalStack) -> None:
    """What an idempotent producer sends, a consumer group reads."""
    topic = await create_topic(stack)
    await produce(stack, topic, b"hello")
    assert await consume(stack, topic, group=f"group-{topic}") == b"hello"


async def test_topics_are_never_made_by_accident(stack: LocalStack) -> None:
    """A topic that nobody created stays unknown."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
    await admin.start()
    try:
        described = await admin.describe_topics(["nobody-made-me"])
        assert described[0]["error_code"] == UnknownTopicOrPartitionError.errno
        assert "nobody-made-me" not in await admin.list_topics()
    finally:
        await admin.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_broker_restart_keeps_records_and_port(stack: LocalStack, how: str) -> None:
    """After a stop or a crash the broker is back on its port with its acknowledged records."""
    topic, before = await create_topic(stack), stack.kafka.bootstrap
    await produce(stack, topic, b"kept")
    await (stack.kafka.stop() if how == "stop" else stack.kafka.kill())
    assert not stack.kafka.alive
    await stack.kafka.start()
    assert stack.kafka.bootstrap == before
    assert await consume(stack, topic) == b"kept"


def test_broken_jar_is_fetched_again(tmp_path: Path) -> None:
    """A jar that a download left half is noticed and replaced by the listed one."""
    listed = read_list()
    small = min(
        listed, key=lambda coordinate: jar_path(Path(sys.prefix) / "share" / "kafka", coordinate).stat().st_size
    )
    for coordinate in listed:
        target = jar_path(tmp_path, coordinate)
        target.parent.mkdir(parents=True)
        target.symlink_to(jar_path(Path(sys.prefix) / "share" / "kafka", coordinate))
    jar_path(tmp_path, small).unlink()
    jar_path(tmp_path, small).write_bytes(b"PK half a jar")
    assert broken_jars(tmp_path, listed) == [small]
    assert len(classpath(tmp_path).split(":")) == len(listed)
    assert broken_jars(tmp_path, listed) == []


async def test_postgres_is_durable_and_needs_the_password(stack: LocalStack) -> None:
    """The server syncs commits as in production and lets nobody in without the password."""
    connection = await asyncpg.connect(stack.postgres.url)
    try:
        settings = {name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")}
        assert settings == {"fsync": "on", "synchronous_commit": "on"}
        assert await connection.fetchval("SHOW max_connections") == "200"
    finally:
        await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stack.postgres.url, password="wrong")


async def test_postgres_crash_keeps_commits(stack: LocalStack, database: Database) -> None:
    """A committed row survives a crash of the server, which comes back on the same address."""
    connection = await asyncpg.connect(database.url)
    await connection.execute("CREATE TABLE survivor (id int)")
    await connection.execute("INSERT INTO survivor VALUES (7)")
    await stack.postgres.kill()
    await connection.close()
    await stack.postgres.start()
    connection = await asyncpg.connect(database.url)
    try:
        assert await connection.fetchval("SELECT id FROM survivor") == 7
    finally:
        await connection.close()


async def test_databases_of_tests_are_separate(stack: LocalStack, database: Database) -> None:
    """Each test has a database of its own, apart from the pipeline's."""
    connection = await asyncpg.connect(database.url)
    try:
        assert await connection.fetchval("SELECT current_database()") == database.name
    finally:
        await connection.close()
    assert not stack.postgres.url.endswith(f"/{database.name}")


async def test_up_writes_its_file_when_ready_and_leaves_nothing(tmp_path: Path) -> None:
    """`up` writes the variables once all is ready, without a kill switch, and stops every process on SIGTERM."""
    folder, env_file = tmp_path / "dir", tmp_path / "env"
    up = start_up(folder, env_file, "kafka,slack")
    await wait_for("the file appears", env_file.exists)
    written = dict(line.split("=", 1) for line in env_file.read_text().splitlines())
    expected = "DATABASE_URL DIRECT_URL OPENAI_API_KEY OPENAI_BASE_URL SMTP_URL SMTP_FROM WEBHOOK_SINK_URL"
    rest = "WEBHOOK_ALLOW_PRIVATE CRON_SECRET WORKSPACE_PROVISIONING_SECRET WEB_SECRET"
    assert set(written) == {*expected.split(), *rest.split()}
    assert env_file.stat().st_mode & 0o077 == 0
    await (await asyncpg.connect(written["DATABASE_URL"])).close()
    up.terminate()
    assert up.wait(WAIT_S_MAX) == 0
    await wait_for("all processes are gone", lambda: not processes_in(folder))


async def test_killed_up_leaves_nothing_and_starts_again(tmp_path: Path) -> None:
    """After SIGKILL no part lives on, and the same folder starts again with its data."""
    folder, env_file = tmp_path / "dir", tmp_path / "env"
    url = ""
    for number in range(2):
        up = start_up(folder, env_file, "slack,mail")
        await wait_for("the file appears", env_file.exists)
        assert number == 0 or env_file.read_text().split("DATABASE_URL=")[1].startswith(url.rsplit("@")[0])
        url = env_file.read_text().split("DATABASE_URL=")[1].splitlines()[0]
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS id")
        await connection.close()
        env_file.unlink()
        up.send_signal(signal.SIGKILL)
        up.wait(WAIT_S_MAX)
        await wait_for("all processes are gone", lambda: not processes_in(folder))


async def test_one_stack_per_folder(stack: LocalStack) -> None:
    """A second stack in the same folder is refused instead of sharing anything."""
    with pytest.raises(StackError, match="in use"):
        await LocalStack(stack.dir, {"mail"}).start()


def test_unknown_part_is_refused(tmp_path: Path) -> None:
    """A part that does not exist is named in the error."""
    with pytest.raises(ValueError, match="redis"):
        LocalStack(tmp_path, {"redis"})


def test_stack_runs_unprivileged_where_it_must(stack: LocalStack) -> None:
    """Postgres does not run as root, although the tests may."""
    status = Path(f"/proc/{stack.postgres.pid}/status").read_text()
    uid = int(status.split("Uid:")[1].split()[0])
    assert uid != 0
    assert os.geteuid() == 0 or uid == os.geteuid()
