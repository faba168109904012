"""The settings of a source, and what is refused at its start."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

from understudy.cli import main
from understudy.errors import ConfigurationError, UnderstudyError
from understudy.sources.process import parse_call

RABBITMQ = ("source", "rabbitmq", "--queue", "q", "--call", "shop/checkout")


@pytest.mark.parametrize("text", ["checkout", "shop/", "/checkout", "sh op/checkout", ""])
def test_a_call_needs_a_group_and_a_function(text: str) -> None:
    with pytest.raises(UnderstudyError):
        parse_call(text)


def test_a_functions_name_may_have_a_slash() -> None:
    assert parse_call("shop/a/b") == ("shop", "a/b")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((*RABBITMQ, "--id", "{offset}"), "a field {offset}, which a rabbitmq message has not"),
        ((*RABBITMQ, "--id", "{topic}"), "does not tell the messages of a rabbitmq queue apart"),
        ((*RABBITMQ, "--server", "http://x"), "--server is no AMQP URL"),
        ((*RABBITMQ, "--server", "amqp://x:y"), "--server is no AMQP URL"),
        ((*RABBITMQ, "--header", "understudy:target"), "only understudy itself may set"),
        ((*RABBITMQ, "--tag", "poison=no"), "only understudy itself may set"),
        ((*RABBITMQ, "--tag", "understudy:target=x"), "understudy:"),
        ((*RABBITMQ, "--timeout", "soon"), "--timeout 'soon' is no"),
        ((*RABBITMQ[:5], "checkout"), "names no function"),
        (("source", "redis", "--stream", "s", "--call", "g/f", "--server", "x://"), "--server"),
        (("source", "nats", "--stream", "s", "--call", "g/f", "--server", "x"), "--server"),
        (("source", "nats", "--stream", "s", "--call", "g/f", "--group", "a.b"), "--group 'a.b'"),
        (
            ("source", "kafka", "--topic", "t", "--call", "g/f", "--setting", "no.such=1"),
            "No such configuration property",
        ),
        (
            ("source", "kafka", "--topic", "t", "--call", "g/f", "--setting", "group.id=x"),
            "the source itself sets it",
        ),
        (("source", "sqs", "--queue", "q", "--call", "g/f"), "needs a region"),
        (
            (
                "source",
                "sqs",
                "--queue",
                "q",
                "--call",
                "g/f",
                "--region",
                "r",
                "--id",
                "{dedup_id}",
            ),
            "a field {dedup_id}, which a sqs message has not",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(
    args: tuple[str, ...],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setattr("understudy.sources.process.StopSignals", _must_not_start)
    assert main(list(args)) == 2
    assert says in capsys.readouterr().err


def _must_not_start(*_: Any) -> None:
    raise AssertionError("it starts")


@pytest.mark.parametrize(
    ("kind", "option", "library"),
    [
        ("kafka", "--topic", "confluent_kafka"),
        ("nats", "--stream", "nats"),
        ("rabbitmq", "--queue", "pika"),
        ("redis", "--stream", "redis"),
        ("sqs", "--queue", "boto3"),
    ],
)
def test_a_library_that_is_missing_is_named(
    kind: str,
    option: str,
    library: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, f"understudy.queues.{kind}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["source", kind, option, "x", "--call", "g/f"]) == 1
    said = f"needs {library}, which is not installed. It comes with the extra [{kind}]"
    assert said in capsys.readouterr().err


def test_a_queue_knows_its_kind() -> None:
    sqs = importlib.import_module("understudy.queues.sqs")
    fifo = sqs.SqsQueue("http://127.0.0.1:1", "a.fifo", region="r")
    assert fifo.kind.default_id == "{topic}-{dedup_id}"
    with pytest.raises(ConfigurationError):
        sqs.SqsQueue("no url", "a", region="r")
