"""The testing kit from outside: its fixtures in a pytest of its own, real brokers, imports."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import eventually
from understudy import Context, Runtime
from understudy.testing import History, Stage, record, replay
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.records import PromiseRecord

PAGE: Final = Path(__file__).parents[3] / "docs" / "testing.md"


def run_pytest(folder: Path, *args: str) -> tuple[int, str]:
    """Run pytest in a process of its own; return exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def programs() -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"```python\n# file: (\w+\.py)\n(.*?)```", text, re.DOTALL))


# The page ----------------------------------------------------------------------------------------


@pytest.fixture
def billing(tmp_path: Path) -> Path:
    """A folder with the tests of the page and the module that they test."""
    for name, source in programs().items():
        (tmp_path / name).write_text(source)
    (tmp_path / "histories").mkdir()
    # A program of its own records the call, as it would in production.
    script = """
        import billing, conftest
        from understudy.testing import Stage, record

        billing.runtime.set_dependency("bank", conftest.Bank())
        with Stage(billing.runtime):
            billing.runtime.rpc("collect-17", billing.collect, "ann", 500).result()
            record("collect-17", billing.runtime).save("histories/collect-17.json")
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, check=True, timeout=60
    )
    return tmp_path


def test_the_tests_of_the_page_pass(billing: Path) -> None:
    code, output = run_pytest(billing, "-rP")
    assert code == 0, output
    assert "5 passed" in output
    assert re.search(r"collect: \d+ crashes at \d+ checkpoints: always the same result", output)


def test_the_tests_of_the_page_fail_as_it_says(billing: Path) -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    said = [text for language, text in blocks if not language]
    assert len(said) == 2
    conftest = (billing / "conftest.py").read_text()
    (billing / "conftest.py").write_text(
        conftest.replace(
            'return self.charges.setdefault(key, f"{customer} paid {cents}")',
            'return self.charges.setdefault(f"{key} {len(self.charges)}", '
            'f"{customer} paid {cents}")',
        )
    )
    source = (billing / "billing.py").read_text()
    code, output = run_pytest(billing, "test_crashes.py")
    assert code == 1
    assert words(said[0]) in words(output), output
    (billing / "billing.py").write_text(
        source.replace(
            "receipt = yield ctx.run(charge, customer, cents)", "receipt = yield ctx.sleep(1)"
        )
    )
    code, output = run_pytest(billing, "test_histories.py")
    assert code == 1
    assert words(said[1]) in words(output), output


def words(text: str) -> str:
    """Remove the layout of the page, additions of pytest, and the folder's name."""
    text = re.sub(r"^E +", "", text, flags=re.MULTILINE)
    text = re.sub(r"^ *(assert \d|\+ ).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"[\w.-]+/billing\.py", "FOLDER/billing.py", text)
    return " ".join(text.replace("understudy_actors.errors.", "").split())


# The fixtures ------------------------------------------------------------------------------------

FIXTURES = """
    from collections.abc import Generator
    from typing import Any

    from understudy import Context, Runtime

    def slow(ctx: Context) -> Generator[Any, Any, str]:
        yield ctx.sleep(86400)
        return "done"

    class Strange:
        def __init__(self, value): self.value = value
        def __eq__(self, other): return self.value == other.value

    def echo(ctx, value):
        return value

    def test_one(runtime, clock, stage):
        assert stage.clock is clock
        runtime.register(slow)
        runtime.register(echo)
        assert runtime.rpc("same-id", slow).result() == "done"
        assert runtime.rpc("pickled", echo, Strange(3)).result() == Strange(3)

    def test_each_has_its_own(runtime, clock):
        runtime.register(echo)
        assert clock.time == 1893456000
        assert list(runtime.promises.search()) == []
        assert runtime.rpc("same-id", echo, 4).result() == 4

    def test_live(live_runtime):
        live_runtime.register(echo)
        assert live_runtime.session.embedded is not None
        assert live_runtime.rpc("same-id", echo, Strange(5)).result(timeout=30) == Strange(5)

    def test_live_again(live_runtime):
        live_runtime.register(echo)
        assert live_runtime.rpc("same-id", echo, 6).result(timeout=30) == 6

    def test_nothing_goes_on_afterwards():
        import threading
        assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
"""


def test_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["understudy.testing.fixtures"]\n')
    (tmp_path / "test_fixtures.py").write_text(textwrap.dedent(FIXTURES))
    code, output = run_pytest(tmp_path, "-W", "error", "-p", "no:trio")
    assert code == 0, output
    assert "5 passed" in output


def test_fixtures_are_not_loaded_without_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        textwrap.dedent(
            """
            import sys

            def test_nothing_is_loaded():
                assert not [name for name in sys.modules if name.startswith("understudy")]
            """
        )
    )
    code, output = run_pytest(tmp_path)
    assert code == 0, output


def test_imports_are_lazy() -> None:
    script = (
        "import sys, understudy; assert 'understudy.testing' not in sys.modules; "
        "import understudy.testing; assert 'pytest' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


# Real brokers ------------------------------------------------------------------------------------


def leaf(ctx: Context, number: int) -> int:
    return number + 1


def workflow(ctx: Context, number: int) -> Generator[Any, Any, int]:
    one = yield from ctx.run(leaf, number)
    two = yield from ctx.rpc(leaf, one)
    yield ctx.sleep(0.01)
    return two


def test_a_history_of_a_real_broker_replays(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    local = Runtime.local(str(path))
    local.register(workflow)
    local.register(leaf)
    with local:
        assert local.rpc("w", workflow, 1).result(timeout=30) == 3
        history = record("w", local)
    history.save(tmp_path / "w.json")
    assert [promise.id for promise in history.promises] == ["w", "w.1", "w.2", "w.3"]
    [replayed] = replay(History.load(tmp_path / "w.json"), workflow, runtime=local)
    assert replayed.same_result
    # A store's file is a source, too.
    again = Runtime.local(str(path))
    with again:
        assert record("w", again) == history
    # The same promises are created on a stage and in production.
    with Stage(local):
        assert local.rpc("w", workflow, 1).result() == 3
        on_stage = record("w", local)
    assert [shape(p) for p in on_stage.promises] == [shape(p) for p in history.promises]


def shape(promise: PromiseRecord) -> tuple[object, ...]:
    return promise.id, promise.state, promise.param, promise.value, promise.tags


def test_a_broker_is_recorded_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedBroker() as broker:
        node = Runtime(group="g", url=broker.endpoint)
        node.register(workflow)
        node.register(leaf)
        with node:
            node.rpc("w", workflow, 1).result(timeout=30)
        history = record("w", broker.endpoint)
        monkeypatch.setenv("UNDERSTUDY_URL", broker.endpoint)
        assert record("w") == history
    assert eventually(lambda: not broker.running)


def test_importing_understudy_imports_no_tracer() -> None:
    code = (
        "import sys, understudy, understudy.tracing; "
        "understudy.Runtime.local(); understudy.tracing.current(); "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
