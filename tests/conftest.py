"""What all tests share: signals, how Hypothesis runs, and a fixture that tells of failure."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Final, NoReturn

import hypothesis
import pytest

from understudy.current_run import CURRENT

if TYPE_CHECKING:
    from tests.cluster import Cluster

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A script that runs the tests in the background has the shell ignore Ctrl-C for them. The
    # programs that they start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each broker would start an edge beside it, all of them at the same port. Tests of that say so.
os.environ["UNDERSTUDY_BROKER__HTTP"] = "off"
# Each would show its metrics at the same port. Tests of that say where.
os.environ["UNDERSTUDY_BROKER__METRICS"] = "none"

# On a busy machine, an example may take any time to draw and to run.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
)
hypothesis.settings.load_profile("tests")

_FAILED: Final = pytest.StashKey[bool]()


def pytest_collection() -> None:
    """Keep the processes of tests from storing what they compile.

    A test may write a module twice in one second. Python would then take the first from its cache.
    By now all processes of pytest itself have started, which do store it.
    """
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure for `has_failed`."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Leave no run behind as the current one, of a test that steps runs in its own context."""
    token = CURRENT.set(None)
    try:
        return (yield)
    finally:
        CURRENT.reset(token)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server of these tests' own, in which each makes a schema.

    Where none is installed, the tests are skipped; in CI that is a failure.
    """
    # Imported here, because most tests do without.
    try:
        from tests.cluster import Cluster, find_programs
    except ImportError as error:
        _without_postgres(str(error))
    programs = find_programs()
    if programs is None:
        _without_postgres("no PostgreSQL: install the development dependencies")
    cluster = Cluster(programs)
    try:
        cluster.make()
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


def _without_postgres(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture
def has_failed(request: pytest.FixtureRequest) -> Callable[[], bool]:
    """Whether the test has failed, for fixtures that then print the output of its processes."""
    return lambda: request.node.stash.get(_FAILED, False)
