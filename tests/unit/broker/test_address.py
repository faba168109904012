"""Addresses of brokers."""

from __future__ import annotations

import doctest

import pytest

from understudy_broker import address as subject
from understudy_broker.address import (
    DEFAULT_ADDRESS,
    SOCKET_PATH_BYTES_MAX,
    InvalidBrokerAddressError,
    check_address,
    connect_address,
    is_reachable_by_others,
)


def test_examples() -> None:
    assert doctest.testmod(subject).failed == 0


@pytest.mark.parametrize(
    "address",
    [
        DEFAULT_ADDRESS,
        "tcp://*:0",
        "tcp://broker_1.example:65535",
        "tcp://[fe80::1%eth0]:5577",
        "ipc:///run/understudy",
        "ipc://" + "x" * SOCKET_PATH_BYTES_MAX,
    ],
)
def test_valid_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "5577",
        "localhost:5577",
        "http://x:1",
        "ipc://",
        "inproc://x",
        "tcp://",
        "tcp://x",
        "tcp://x:",
        "tcp://:1",
        "tcp://x:y",
        "tcp://x:-1",
        "tcp://x:65536",
        "tcp://x y:1",
    ],
)
def test_invalid_addresses(address: str) -> None:
    with pytest.raises(InvalidBrokerAddressError, match=r"looks like tcp://127\.0\.0\.1:5577"):
        check_address(address)


def test_schemes_and_ports_can_be_restricted() -> None:
    assert check_address("inproc://x", schemes=("inproc",)) == "inproc://x"
    with pytest.raises(InvalidBrokerAddressError, match="a port from 1 to 65535"):
        check_address("tcp://x:0", port_min=1)


@pytest.mark.parametrize(
    ("listen", "connect"),
    [
        ("tcp://*:5577", "tcp://127.0.0.1:5577"),
        ("tcp://0.0.0.0:5577", "tcp://127.0.0.1:5577"),
        ("tcp://[::]:5577", "tcp://[::1]:5577"),
        ("tcp://10.0.0.5:5577", "tcp://10.0.0.5:5577"),
        ("ipc:///run/understudy", "ipc:///run/understudy"),
    ],
)
def test_the_address_to_connect_to(listen: str, connect: str) -> None:
    assert connect_address(listen) == connect


@pytest.mark.parametrize(
    ("listen", "reachable"),
    [
        ("tcp://localhost:1", False),
        ("tcp://127.1.2.3:1", False),
        ("tcp://[::1]:1", False),
        ("ipc:///run/understudy", False),
        ("tcp://*:1", True),
        ("tcp://eth0:1", True),
        ("tcp://10.0.0.5:1", True),
    ],
)
def test_reachability_from_other_machines(listen: str, reachable: bool) -> None:
    assert is_reachable_by_others(listen) == reachable


def test_the_bound_of_a_path_counts_bytes() -> None:
    with pytest.raises(InvalidBrokerAddressError, match=r"has at most 10[37] bytes"):
        check_address("ipc://" + "\u00e9" * (SOCKET_PATH_BYTES_MAX // 2 + 1))
