"""What a service manager is told, at real sockets."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy_broker.monitoring.service_manager import ServiceManager, take_service_manager


class Manager:
    """The socket of a service manager, at an address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def heard(self) -> str:
        return self.socket.recv(4096).decode()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    found = Manager(path if request.param == "path" else f"@{path}")
    with found.socket:
        yield found


def test_it_is_told_once_that_the_program_serves_and_that_it_ends(manager: Manager) -> None:
    told = ServiceManager(manager.address)
    told.ready("listening\non tcp://127.0.0.1:5577")
    told.ready("again")
    told.stopping()
    assert manager.heard() == "READY=1\nSTATUS=listening on tcp://127.0.0.1:5577"
    assert manager.heard() == "STOPPING=1\nSTATUS=stopping"


def test_there_are_beats_only_while_the_loops_turn(manager: Manager) -> None:
    answers = iter([True, False, False, True])
    told = ServiceManager(manager.address, 0.04)

    def turns() -> bool:
        answer = next(answers, None)
        if answer is None:
            told.stopping()
        return bool(answer)

    told.beat_while(turns)
    assert [manager.heard() for _ in range(3)] == ["WATCHDOG=1", "WATCHDOG=1", told_at_the_end()]


def told_at_the_end() -> str:
    return "STOPPING=1\nSTATUS=stopping"


def test_the_environment_loses_what_names_it(manager: Manager) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "20000",
        "WATCHDOG_PID": "",
        "A": "",
    }
    take_service_manager(environ).beat_while(lambda: True)
    assert environ == {"A": ""}
    assert manager.heard() == "WATCHDOG=1"


@pytest.mark.parametrize(
    ("interval", "pid"), [("20000", "1"), ("0", ""), ("soon", ""), ("", ""), ("-1", "")]
)
def test_beats_that_are_not_asked_for_here_are_not_sent(
    manager: Manager, interval: str, pid: str
) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": interval,
        "WATCHDOG_PID": pid,
    }
    assert pid != str(os.getpid())
    asked: list[bool] = []

    def turns() -> bool:
        asked.append(True)
        return True

    told = take_service_manager(environ)
    told.beat_while(turns)
    told.ready("")
    assert manager.heard().startswith("READY=1")
    assert not asked


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_without_one_nothing_is_said(address: str, caplog: pytest.LogCaptureFixture) -> None:
    told = take_service_manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"})
    told.ready("x")
    told.beat_while(lambda: True)
    told.stopping()
    assert not caplog.records


def test_one_that_is_gone_is_told_of_once_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = ServiceManager(str(tmp_path / "gone"))
    with caplog.at_level(logging.WARNING, "understudy"):
        told.ready("x")
        told.stopping()
    [record] = caplog.records
    assert "NOTIFY_SOCKET" in record.getMessage()
