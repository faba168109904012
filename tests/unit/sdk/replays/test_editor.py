"""An editor as the debugger: what is asked of debugpy, which need not be installed here."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from understudy import extras
from understudy.errors import ConfigurationError
from understudy.replays.editor import wait_for_editor
from understudy.replays.stops import Stops


def test_without_debugpy_it_says_which_extra_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "missing", lambda *modules: modules[0])
    with pytest.raises(ConfigurationError, match=r"--debugpy needs debugpy.*\[debugpy\]"):
        wait_for_editor("127.0.0.1", 5678, print)


def test_it_waits_and_stops_in_the_frame_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    said: list[str] = []
    debugpy = SimpleNamespace(
        listen=asked.append,
        wait_for_client=lambda: asked.append("waits"),
        debug_this_thread=lambda: asked.append("follows"),
    )
    pydevd = SimpleNamespace(settrace=lambda **given: asked.append(given["stop_at_frame"]))
    monkeypatch.setattr(extras, "missing", lambda *_: "")
    monkeypatch.setitem(sys.modules, "debugpy", debugpy)
    monkeypatch.setitem(sys.modules, "pydevd", pydevd)
    make = wait_for_editor("127.0.0.1", 5678, said.append)
    assert asked == [("127.0.0.1", 5678), "waits"]
    assert "127.0.0.1:5678" in said[0]

    named, unnamed = Stops("order-7", "ship"), Stops("order-7")
    make(named, (), None, None)
    editor = make(unnamed, (test_without_debugpy_it_says_which_extra_has_it.__code__,), None, None)
    assert (named.at, unnamed.at) == ("ship", "1")
    frame = sys._getframe()
    editor.follow()
    editor.stop_at(frame)
    assert asked[2:] == ["follows", frame]
    editor.show(frame)
    assert said[1].startswith(f"  at {__file__}:")


def test_an_address_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(_: object) -> None:
        raise OSError("it is in use")

    monkeypatch.setattr(extras, "missing", lambda *_: "")
    monkeypatch.setitem(sys.modules, "debugpy", SimpleNamespace(listen=taken))
    with pytest.raises(ConfigurationError, match=r"cannot listen at 127\.0\.0\.1:1: it is in use"):
        wait_for_editor("127.0.0.1", 1, print)
