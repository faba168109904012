"""Naming what cannot go to another process."""

from __future__ import annotations

import threading
from typing import Any

from understudy.processes.pickle_report import describe_unpicklable


def fine(ctx: Any, x: int = 1) -> int:
    return x


def made(thing: Any) -> Any:
    def uses(ctx: Any) -> Any:
        return thing

    return uses


def test_what_cannot_be_sent_is_named() -> None:
    lock = threading.Lock()
    text = describe_unpicklable(
        {"fine": fine, "bad": made(lock), "good": made(5)}, {"settings": {"a": 1}, "db": lock}
    )
    problem = "cannot pickle '_thread.lock' object"
    assert text == (
        f"function 'bad': it uses the variable 'thing' ({problem}); dependency 'db': {problem}"
    )


def test_a_function_that_has_no_variables_to_look_at() -> None:
    class Callable:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __call__(self, ctx: Any) -> None: ...

    assert describe_unpicklable({"x": Callable()}, {}).startswith("function 'x': cannot pickle")


def test_what_is_fine_is_not_named() -> None:
    assert describe_unpicklable({"fine": fine}, {"a": 1}) == ""
