"""Where a runtime looks for its broker."""

from __future__ import annotations

import pytest

from understudy.client.address import broker_address
from understudy.errors import ConfigurationError


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter2@host:8001",
        "https://hunter2@host",
        "tcp://me:hunter2@host:5577",
        "tcp://me:hun,hunter2@host:5577",
        "tcp://me:hun/hunter2@host:5577",
        "tcp://127.0.0.1:5577,tcp://me:hunter2@host:5577",
        "me:hunter2@host",
    ],
)
def test_a_secret_is_refused_and_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_URL", url)
    for given in (None, url):
        with pytest.raises(ConfigurationError, match="no user and no password") as raised:
            broker_address(given)
        assert "hunter2" not in str(raised.value)


def test_the_path_of_a_socket_may_have_an_at() -> None:
    assert broker_address("ipc:///run/user@1/broker") == "ipc:///run/user@1/broker"
