"""Calls that are not yielded: an error or a warning names each of them."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import Context, Runtime
from understudy.retry import Never


class TestForgottenYields:
    """Each way of forgetting a yield, and where the message about it appears."""

    def run(self, fn: Any) -> Any:
        runtime = Runtime.local(retry=Never())
        runtime.register(fn, name="f")
        try:
            return runtime.rpc("f-1", "f").result(20)
        finally:
            runtime.stop()

    def test_a_call_as_the_result(self) -> None:
        def forgets(ctx: Context) -> Any:
            yield ctx.sleep(0)
            return ctx.rpc("f")

        with pytest.raises(TypeError, match=r"rpc f.*was not yielded"):
            self.run(forgets)

    def test_a_promise_inside_a_result(self) -> None:
        def forgets(ctx: Context) -> Any:
            return {"x": (yield ctx.begin_run(lambda _: 1))}

        with pytest.raises(Exception, match="was not yielded"):
            self.run(forgets)

    def test_a_call_as_an_argument(self) -> None:
        def forgets(ctx: Context) -> Any:
            return (yield ctx.run(lambda _, x: x, ctx.run(lambda _: 1)))

        with pytest.raises(TypeError, match=r"argument of ctx.run.*was not yielded"):
            self.run(forgets)

    def test_a_call_as_a_condition(self) -> None:
        def forgets(ctx: Context) -> Any:
            asked: Any = ctx.run(lambda _: False)
            if asked:
                yield ctx.sleep(0)

        with pytest.raises(TypeError, match="was not yielded"):
            self.run(forgets)

    def test_no_yield_at_all(self, caplog: pytest.LogCaptureFixture) -> None:
        def forgets(ctx: Context) -> str:
            ctx.run(lambda _: 1)
            ctx.sleep(1)
            return "done"

        assert self.run(forgets) == "done"
        warned = [r.getMessage() for r in caplog.records if "was not yielded" in r.getMessage()]
        assert len(warned) == 2
        assert "forgets" in warned[0] or "f:" in warned[0]
