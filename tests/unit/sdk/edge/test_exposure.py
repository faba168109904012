"""Where an edge may listen, with tokens and TLS and without."""

from __future__ import annotations

import pytest

from understudy.edge.exposure import ExposedError, check_exposure

HERE = {"--listen": ("127.0.0.1", 8001), "--grpc": ("::1", 8003), "--legacy-poll": None}
THERE = {"--listen": ("127.0.0.1", 8001), "--grpc": ("10.0.0.5", 8003), "--legacy-poll": None}


def why(
    places: dict[str, tuple[str, int] | None], tokens: bool, tls: bool, proxy: bool = False
) -> str:
    try:
        check_exposure(places, has_tokens=tokens, has_tls=tls, is_behind_proxy=proxy)
    except ExposedError as error:
        return str(error)
    return ""


def test_on_this_machine_nothing_is_asked_for() -> None:
    assert why(HERE, tokens=False, tls=False) == ""
    assert why({"--listen": ("localhost", 1)}, tokens=False, tls=False) == ""


def test_beyond_it_tokens_and_tls_are() -> None:
    assert why(THERE, tokens=True, tls=True) == ""
    assert why(THERE, tokens=True, tls=False, proxy=True) == ""
    text = why(THERE, tokens=False, tls=False)
    assert text.startswith("--grpc 10.0.0.5:8003: other machines can reach it")
    for advice in ("--tokens", "--tls-cert", "--behind-proxy", "--insecure"):
        assert advice in text
    assert "--tls-cert" not in why(THERE, tokens=False, tls=True)
    assert "understudy tokens" not in why(THERE, tokens=True, tls=False)
    assert "--tokens" in why(THERE, tokens=False, tls=False, proxy=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "edge.example", "127.example", "1127.0.0.1"])
def test_hosts_that_others_may_reach(host: str) -> None:
    assert why({"--listen": (host, 1)}, tokens=False, tls=False).startswith("--listen")
