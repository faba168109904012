"""Which addresses are public, private, or never pushed to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.edge.push.networks import reach_of


@pytest.mark.parametrize(
    ("reach", "addresses"),
    [
        ("public", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"]),
        (
            "private",
            [
                "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "172.31.255.255",
                "192.168.1.1", "100.64.0.1", "198.18.0.1", "192.0.2.1", "::1", "fd12::1",
                "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1",
                "fec0::1", "feff::1", "::ffff:0:a00:1", "::ffff:0:808:808",
            ],
        ),
        (
            "never",
            [
                "169.254.169.254", "169.254.1.1", "100.100.100.200", "168.63.129.16",
                "192.0.0.192", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255",
                "240.0.0.1", "::", "fe80::1", "ff02::1", "fd00:ec2::254",
                "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::",
                "::a9fe:a9fe", "::ffff:0.0.0.0", "::ffff:0:a9fe:a9fe",
            ],
        ),
    ],
)  # fmt: skip
def test_reach(reach: str, addresses: list[str]) -> None:
    assert {address: reach_of(ip_address(address)) for address in addresses} == dict.fromkeys(
        addresses, reach
    )


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "2002::"]))
def test_no_way_of_writing_makes_an_address_more_public(address: IPv4Address, prefix: str) -> None:
    shift = 80 if prefix == "2002::" else 0
    written = IPv6Address(int(IPv6Address(prefix)) | int(address) << shift)
    order = ["public", "private", "never"]
    assert order.index(reach_of(written)) >= order.index(reach_of(address))


@given(st.ip_addresses())
def test_every_address_has_a_reach(address: IPv4Address | IPv6Address) -> None:
    assert reach_of(address) in ("public", "private", "never")
    if reach_of(address) == "public":
        assert address.is_global
