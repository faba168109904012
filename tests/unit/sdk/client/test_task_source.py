"""The task source of a runtime: where it comes from, and where calls go then."""

from __future__ import annotations

import pytest

from understudy import ConfigurationError, Context, Runtime
from understudy.testing import Stage

URL = "amqp://me:secret@MQ.internal/orders"
TARGET = "amqp://mq.internal/orders"


def add(ctx: Context, a: int, b: int) -> int:
    del ctx
    return a + b


def test_calls_without_a_target_go_to_the_task_source() -> None:
    runtime = Runtime("shop", task_source=URL)
    assert runtime.task_source == runtime.session.env.target == TARGET
    runtime.configure(group="bank")
    assert (runtime.group, runtime.session.env.target) == ("bank", TARGET)
    assert runtime.options(timeout=5).task_source == TARGET
    assert "secret" not in repr(runtime)


def test_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_TASK_SOURCE", URL)
    assert Runtime().task_source == TARGET
    assert Runtime(task_source="nats://mq/a.b").task_source == "nats://mq/a.b"
    assert Runtime(task_source="").task_source is None
    assert Runtime.local().task_source is None


def test_without_one_calls_go_to_the_group() -> None:
    runtime = Runtime("shop")
    assert runtime.task_source is None
    assert runtime.session.env.target == "poll://any@shop"


@pytest.mark.parametrize("url", ["orders", "https://mq/orders", "amqp://mq", "amqp://x:secret@"])
def test_what_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the task source") as raised:
        Runtime(task_source=url)
    assert "secret" not in str(raised.value)


def test_a_text_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="task_source=7"):
        Runtime(task_source=7)  # type: ignore[arg-type]


def test_on_a_stage_there_is_no_queue() -> None:
    runtime = Runtime("shop", task_source=URL)
    runtime.register(add)
    with Stage() as stage:
        stage.add(runtime)
        assert runtime.rpc("add-1", add, 1, 2).result() == 3


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.extras.missing", lambda *modules: modules[0])
    runtime = Runtime(task_source=URL, connect_timeout=0)
    try:
        with pytest.raises(ConfigurationError, match=r"needs pika.*\[rabbitmq\]"):
            runtime.start()
    finally:
        runtime.stop(timeout=5)
