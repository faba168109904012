"""Kafka without ZooKeeper, from Maven's jars: one node that is both controller and broker."""

from __future__ import annotations

import base64
import subprocess
import uuid
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services.maven import jars, java
from tests.services.server import Server
from tests.support import eventually
from understudy.bench.deployment import free_port

_VERSION: Final = "3.9.1"
#: quick to start, and small
_JAVA: Final = ("-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_PROPERTIES: Final = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/logs
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
"""


class KafkaServer(Server):
    """A Kafka node."""

    def __init__(self) -> None:
        self._java = java()
        self._jars = jars("org.apache.kafka", "kafka_2.13", _VERSION)
        super().__init__("kafka")
        self._controller = free_port()
        properties = _PROPERTIES.format(
            port=self.port, controller=self._controller, folder=self.folder
        )
        self._file = self.folder / "server.properties"
        self._file.write_text(properties)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        made = subprocess.run(
            [
                *self._command("kafka.tools.StorageTool"),
                "format",
                f"--cluster-id={cluster}",
                "-c",
                self._file,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert made.returncode == 0, made.stdout + made.stderr

    @property
    def url(self) -> str:
        """The server's address, as Kafka has it."""
        return f"127.0.0.1:{self.port}"

    def _command(self, program: str) -> list[str]:
        return [self._java, *_JAVA, "-cp", f"{self._jars}/*", program]

    def start(self) -> None:
        """Start the server, and return when it answers."""
        self.run([*self._command("kafka.Kafka"), self._file])
        self.wait_until_it_listens()
        eventually(self._answers, 90.0)

    def _answers(self) -> bool:
        admin = AdminClient({"bootstrap.servers": self.url, "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return False
