"""The options for logs set the environment, which all processes follow."""

from __future__ import annotations

import os

import pytest

from understudy.cli.errors import UsageError
from understudy.cli.log_options import follow


def test_options_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_LOG_FORMAT", "text")
    monkeypatch.setenv("UNDERSTUDY_LOG_LEVEL", "debug")
    follow(None, None)
    assert os.environ["UNDERSTUDY_LOG_FORMAT"] == "text"
    follow("json", "error")
    assert os.environ["UNDERSTUDY_LOG_FORMAT"] == "json"
    assert os.environ["UNDERSTUDY_LOG_LEVEL"] == "error"


def test_what_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_LOG_FORMAT", raising=False)
    with pytest.raises(UsageError, match="--log-format 'xml': choose one of text, json"):
        follow("xml", None)
    with pytest.raises(UsageError, match="--log-level 'loud': choose one of debug"):
        follow(None, "loud")
    monkeypatch.setenv("UNDERSTUDY_LOG_LEVEL", "loud")
    with pytest.raises(UsageError, match="UNDERSTUDY_LOG_LEVEL='loud'"):
        follow(None, None)
