"""Calls from SQS, as ElasticMQ speaks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from tests.integration.sources.contract import SourceContract
from tests.integration.sources.world import World, orders
from tests.services.fixture import running
from tests.services.sqs import KEYS, SqsServer
from tests.support import eventually

_names = count(1)


class SqsQueue:
    """A queue of SQS; see `world.Queue`."""

    def __init__(self, server: SqsServer, *, fifo: bool = False) -> None:
        self._client = server.client()
        self.name = f"orders{next(_names)}"
        attributes = {}
        if fifo:
            self.name += ".fifo"
            attributes = {"FifoQueue": "true"}
        # What a dead source had is delivered again soon.
        self.command = ["sqs", "--queue", self.name, "--visibility", "3s"]
        self.env = {"UNDERSTUDY_SOURCE_SERVER": server.url, **KEYS}
        self.place = f"sqs:{self.name}"
        self.kill, self.start = server.kill, server.start
        made = self._client.create_queue(QueueName=self.name, Attributes=attributes)
        self._url = made["QueueUrl"]

    def publish(self, bodies: Sequence[bytes], **more: Any) -> None:
        # SQS has no empty messages.
        texts = [body.decode() or " " for body in bodies]
        attributes = {
            "tenant": {"DataType": "String", "StringValue": "acme"},
            "raw": {"DataType": "Binary", "BinaryValue": b"x"},
        }
        batches = [
            [
                {
                    "Id": str(number),
                    "MessageBody": text,
                    "MessageAttributes": attributes,
                    **more,
                }
                for number, text in enumerate(texts[start : start + 10])
            ]
            for start in range(0, len(texts), 10)
        ]

        def send(batch: Any) -> None:
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=batch)
            assert not answer.get("Failed")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(send, batches))

    def let_pass(self, time_s: int) -> None:
        """Return when a message that was received becomes visible again after so long."""
        made = self._client.create_queue(QueueName=f"{self.name}-clock")
        clock = {"QueueUrl": made["QueueUrl"], "WaitTimeSeconds": 20}
        self._client.send_message(QueueUrl=made["QueueUrl"], MessageBody="tick")
        for _ in range(2):
            eventually(
                lambda: self._client.receive_message(**clock, VisibilityTimeout=time_s).get(
                    "Messages"
                ),
                60.0,
            )

    def waiting(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        return sum(int(value) for value in answer["Attributes"].values())


@pytest.fixture(scope="module")
def server() -> Iterator[SqsServer]:
    with running(SqsServer) as server:
        yield server


@pytest.fixture
def queue(server: SqsServer) -> SqsQueue:
    return SqsQueue(server)


class TestSqs(SourceContract):
    """Calls from SQS, with kills in the middle."""

    many = 1000

    def test_attributes_become_tags(self, world: World, queue: SqsQueue) -> None:
        queue.publish(orders(0, 3))
        world.start_source("--header", "tenant", "--header", "raw")
        self.check_all(world, 3)
        [*tagged] = world.runtime.promises.search(tags={"tenant": "acme"})
        assert len(tagged) == 3
        assert all(promise.id.startswith(f"{queue.name}-") for promise in tagged)

    def test_messages_are_kept_while_the_broker_is_away(
        self, world: World, queue: SqsQueue
    ) -> None:
        """Their visibility timeout is extended, so nobody else gets them."""
        source = world.start_source("--visibility", "4s")
        queue.publish(orders(0, 10))
        world.wait_performed(10)
        world.kill(world.broker)
        queue.publish(orders(10, 50))
        source.wait_for("no broker answers")
        queue.let_pass(6)
        world.start_broker()
        self.check_all(world, 60)
        assert "0 known" in source.output


class TestFifo:
    """Calls from a FIFO queue."""

    @pytest.fixture
    def queue(self, server: SqsServer) -> SqsQueue:
        return SqsQueue(server, fifo=True)

    world = SourceContract.world

    def test_the_deduplication_id_is_the_id(self, world: World, queue: SqsQueue) -> None:
        for number in range(5):
            body = orders(number, 1)
            queue.publish(body, MessageDeduplicationId=f"d{number}", MessageGroupId="g")
        world.start_source("--id", "{group_id}-{dedup_id}")
        SourceContract().check_all(world, 5)
        assert world.calls() == [f"g-d{number}" for number in range(5)]

    def test_the_default_id_of_a_fifo_queue(self, world: World, queue: SqsQueue) -> None:
        queue.publish(orders(0, 1), MessageDeduplicationId="d", MessageGroupId="g")
        world.start_source()
        SourceContract().check_all(world, 1)
        assert world.calls() == [f"{queue.name.replace('.', ':')}-d"]
