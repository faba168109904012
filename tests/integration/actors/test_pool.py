"""The pool with real child processes: small Python programs that live, die or ignore SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from understudy_actors.processes import (
    ProcessHandle,
    ProcessSpec,
    ProcessStartError,
    RestartLimitError,
    RestartPolicy,
    open_pool,
)
from understudy_actors.processes.lifeline import LIFELINE_ENV

#: Seconds after which a wait has failed.
PATIENCE_S = 20

READY = "print('ready', flush=True)\n"
LIVE = f"import signal\n{READY}signal.pause()\n"
STUBBORN = (
    f"import signal\nsignal.signal(15, signal.SIG_IGN)\n{READY}\nwhile True: signal.pause()\n"
)
#: The signal is blocked, because one that comes right before a pause would not end the pause.
POLITE = f"""
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [15])
{READY}
signal.sigwait([15])
os.write(1, b'bye\\n')
"""

SOON = RestartPolicy(initial_s=0, max_s=0, max_restarts=3)


class Lines:
    """The lines that a pool has reported; waits for more of them."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._more = trio.Event()

    def __call__(self, name: str, line: str) -> None:
        self.seen.append((name, line))
        self._more.set()
        self._more = trio.Event()

    def of(self, name: str) -> list[str]:
        return [line for who, line in self.seen if who == name]

    async def until(self, name: str, line: str, times: int = 1) -> None:
        """Return once process `name` has written `line` so many times."""
        with trio.fail_after(PATIENCE_S):
            while self.of(name).count(line) < times:
                await self._more.wait()


class Witness:
    """A named pipe that children hold open: its end-of-file means that all of them are gone."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "witness"
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    @property
    def hold(self) -> str:
        """Code that makes a program hold the pipe open."""
        return f"witness = open({str(self.path)!r}, 'wb')\n"

    async def gone(self) -> None:
        with trio.fail_after(PATIENCE_S):
            await trio.lowlevel.wait_readable(self._fd)
        assert os.read(self._fd, 1) == b""

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    witness = Witness(tmp_path)
    yield witness
    witness.close()


def _python(
    name: str,
    code: str,
    restart: RestartPolicy = SOON,
    *,
    stage: int = 0,
    stdin: bytes | None = None,
) -> ProcessSpec:
    argv = [sys.executable, "-I", "-S", "-c", code]
    return ProcessSpec(name=name, argv=argv, restart=restart, stage=stage, stdin_data=stdin)


# -- restarts -------------------------------------------------------------------------------------


async def test_a_killed_process_is_started_again() -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        handle = await pool.start(_python("a", LIVE))
        await lines.until("a", "ready")
        first = handle.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await lines.until("a", "ready", times=2)
        now = handle.statistics()
        assert now.pid not in (first, None)
        assert (now.state, now.restarts, now.exit_code) == ("running", 1, -9)
        assert "a was killed by SIGKILL; starting it again in 0 s" in lines.of("pool")
        assert pool.statistics().restarts == 1
        assert pool.statistics().running == 1
    after = handle.statistics()
    assert (after.pid, after.state) == (None, "stopped")


async def test_a_process_that_exits_is_started_again_too() -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        await pool.start(_python("a", READY))
        await lines.until("a", "ready", times=2)


async def test_the_input_is_written_to_every_run() -> None:
    lines = Lines()
    code = "import sys\nprint(len(sys.stdin.buffer.read()), flush=True)\n"
    async with open_pool(on_line=lines) as pool:
        await pool.start(_python("a", code, stdin=b"x" * 300_000))
        await lines.until("a", "300000", times=2)


async def test_unread_input_is_harmless() -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        await pool.start(_python("a", READY, stdin=b"x" * 300_000))
        await lines.until("a", "ready", times=2)


async def test_stopping_does_not_wait_for_the_next_restart() -> None:
    lines = Lines()
    late = RestartPolicy(initial_s=3600, max_s=3600)
    with trio.fail_after(PATIENCE_S):
        async with open_pool(on_line=lines) as pool:
            handle = await pool.start(_python("a", "", late))
            await lines.until("pool", "a exited with code 0; starting it again in 3600 s")
            assert handle.statistics().state == "waiting"
    assert handle.statistics().state == "stopped"


async def test_processes_left_behind_by_a_dead_one_are_killed(witness: Witness) -> None:
    lines = Lines()
    argv = [sys.executable, "-I", "-S", "-c", witness.hold + LIVE]
    code = f"import subprocess\nsubprocess.run({argv!r})"
    async with open_pool(on_line=lines) as pool:
        handle = await pool.start(_python("a", code, RestartPolicy(initial_s=3600, max_s=3600)))
        await lines.until("a", "ready")
        assert handle.pid is not None
        os.kill(handle.pid, signal.SIGKILL)
        await witness.gone()


# -- escalation -----------------------------------------------------------------------------------


async def test_a_process_that_always_dies_stops_the_pool() -> None:
    lines = Lines()
    code = "for i in range(30): print('line', i)\nraise SystemExit(3)"
    async with open_pool(on_line=lines) as pool:
        steady = await pool.start(_python("steady", POLITE))
        await lines.until("steady", "ready")
        failing = await pool.start(_python("failing", code))
        with pytest.raises(RestartLimitError) as caught, trio.fail_after(PATIENCE_S):
            await pool.wait()
        assert (steady.state, failing.state, failing.restarts) == ("stopped", "failed", 3)
    error = caught.value
    assert (error.name, error.exit_code) == ("failing", 3)
    assert error.lines == tuple(f"line {i}" for i in range(10, 30))
    assert str(error).startswith(
        "failing exited with code 3 and was not started again: 3 restarts in 60 s are the limit. "
        "Its last lines:\n  line 10\n"
    )
    assert lines.of("steady") == ["ready", "bye"]


async def test_a_failure_that_nobody_waits_for_is_raised_by_the_block() -> None:
    async def run() -> None:
        async with open_pool(on_line=Lines()) as pool:
            await pool.start(_python("failing", "raise SystemExit(2)"))
            await trio.sleep_forever()

    with pytest.raises(RestartLimitError, match="It wrote nothing"), trio.fail_after(PATIENCE_S):
        await run()


async def test_what_a_process_says_in_its_last_moment_counts() -> None:
    """It serves, so what ends it, with whatever code, is a call that it was given."""
    last_words = (
        "import os\n"
        f"os.write(1, b'served\\n')\nos.write(int(os.environ[{LIFELINE_ENV!r}]), b'r')\nos._exit(2)"
    )
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        await pool.start(_python("node", last_words))
        await lines.until("node", "served", times=2 * SOON.max_restarts)


async def test_a_usage_error_is_not_repeated() -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        handle = await pool.start(_python("a", f"{READY}raise SystemExit(2)"))
        with pytest.raises(RestartLimitError, match="usage error"), trio.fail_after(PATIENCE_S):
            await pool.wait()
    assert handle.restarts == 0
    assert lines.of("a") == ["ready"]


async def test_a_program_that_vanishes_between_runs_is_a_death(tmp_path: Path) -> None:
    lines = Lines()
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport os\nos.unlink(__file__)\n")
    program.chmod(0o700)
    async with open_pool(on_line=lines) as pool:
        await pool.start(ProcessSpec(name="a", argv=[str(program)], restart=SOON))
        with pytest.raises(RestartLimitError, match="No such file") as caught:
            await pool.wait()
    assert caught.value.exit_code is None


# -- stopping -------------------------------------------------------------------------------------


async def test_stages_are_stopped_one_after_the_other_and_the_newest_first() -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        for name, stage in (("broker", 0), ("node", 1), ("gateway", 2)):
            await pool.start(_python(name, POLITE, stage=stage))
            await lines.until(name, "ready")
        await pool.stop()
        await pool.wait()
    assert [name for name, line in lines.seen if line == "bye"] == ["gateway", "node", "broker"]


async def test_a_stubborn_process_is_killed_when_the_time_is_up() -> None:
    lines = Lines()
    async with open_pool(on_line=lines, drain_timeout_s=0.1) as pool:
        handle = await pool.start(_python("a", STUBBORN))
        await lines.until("a", "ready")
    assert (handle.state, handle.exit_code) == ("stopped", -9)
    assert lines.of("pool") == ["a has not ended in 0.1 s; killing it"]


async def test_a_second_request_kills_at_once() -> None:
    lines = Lines()
    async with open_pool(on_line=lines, drain_timeout_s=3600) as pool:
        first = await pool.start(_python("first", STUBBORN))
        second = await pool.start(_python("second", STUBBORN, stage=1))
        await lines.until("first", "ready")
        await lines.until("second", "ready")
        pool.request_stop()
        with trio.fail_after(PATIENCE_S):
            await pool.stop()
    assert (first.exit_code, second.exit_code) == (-9, -9)


async def test_canceling_drains() -> None:
    lines = Lines()
    with trio.move_on_after(3600) as scope:
        async with open_pool(on_line=lines) as pool:
            await pool.start(_python("a", POLITE))
            await lines.until("a", "ready")
            scope.cancel()
            await pool.wait()
    assert scope.cancelled_caught
    assert lines.of("a") == ["ready", "bye"]


async def test_an_error_in_the_block_drains_and_arrives_as_itself() -> None:
    lines = Lines()

    async def run() -> None:
        async with open_pool(on_line=lines) as pool:
            await pool.start(_python("a", POLITE))
            await lines.until("a", "ready")
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await run()
    assert lines.of("a") == ["ready", "bye"]


async def test_an_error_in_the_callback_ends_everything(witness: Witness) -> None:
    def fail(name: str, line: str) -> None:
        raise LookupError(line)

    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with open_pool(on_line=fail) as pool:
            await pool.start(_python("a", witness.hold + LIVE))
            await trio.sleep_forever()
    await witness.gone()


# -- starting -------------------------------------------------------------------------------------


async def test_a_process_has_a_session_of_its_own() -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        handle = await pool.start(_python("a", LIVE))
        assert handle.pid is not None
        assert os.getsid(handle.pid) == handle.pid


async def test_environment_and_folder(tmp_path: Path) -> None:
    lines = Lines()
    code = "import os\nprint(os.environ['GREETING'], os.getcwd())\nimport signal\nsignal.pause()"
    argv = [sys.executable, "-c", code]
    async with open_pool(on_line=lines) as pool:
        await pool.start(
            ProcessSpec(name="a", argv=argv, env={"GREETING": "hello"}, cwd=tmp_path.resolve())
        )
        # The program does not flush, and need not: the output of children is unbuffered.
        await lines.until("a", f"hello {tmp_path.resolve()}")


async def test_both_outputs_are_read_in_order() -> None:
    lines = Lines()
    code = "import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr)\nprint('x' * 40000)"
    async with open_pool(on_line=lines) as pool:
        await pool.start(_python("a", f"{code}\nimport signal\n{LIVE}"))
        await lines.until("a", "ready")
    assert [len(line) for line in lines.of("a")[2:-1]] == [16384, 16384, 40000 - 2 * 16384]
    assert lines.of("a")[:2] == ["out", "err"]


async def test_a_start_that_fails_is_a_clear_error(tmp_path: Path) -> None:
    async with open_pool(on_line=Lines()) as pool:
        with pytest.raises(ProcessStartError, match=r"a: 'nowhere x' cannot be started: .*No such"):
            await pool.start(ProcessSpec(name="a", argv=["nowhere", "x"]))
        # A failed start leaves the name free.
        await pool.start(_python("a", LIVE))
        with pytest.raises(ValueError, match="'a' is taken"):
            await pool.start(_python("a", LIVE))
        await pool.stop()
        with pytest.raises(RuntimeError, match="stopping"):
            await pool.start(_python("b", LIVE))


async def test_lines_are_printed_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pool() as pool:
        handle = await pool.start(_python("a", "print('hello')", RestartPolicy(max_restarts=0)))
        with pytest.raises(RestartLimitError):
            await pool.wait()
    assert "a | hello\n" in capsys.readouterr().out
    assert handle.state == "failed"


# -- the death of the pool ------------------------------------------------------------------------

#: A pool with three children: one watches its lifeline, the other two do not. The first and the
#: last ignore SIGTERM.
POOL = """
import sys, trio
from understudy_actors.processes import ProcessSpec, open_pool

async def main():
    async with open_pool(drain_timeout_s=0.2) as pool:
        for name, code in zip(("watching", "plain", "stubborn"), sys.argv[1:], strict=True):
            argv = [sys.executable, "-c", code]
            await pool.start(ProcessSpec(name=name, argv=argv, watches_lifeline=name == "watching"))
        await pool.wait()

trio.run(main)
"""

WATCHING = f"""
import os
from understudy_actors.processes.lifeline import watch_lifeline
assert watch_lifeline(lambda: os._exit(0))
{STUBBORN}
"""


@asynccontextmanager
async def _pool_process(code: str, children: list[str]) -> AsyncIterator[trio.Process]:
    """A pool in a process of its own, once all its children are ready."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", code, *children], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    async with process.stdout:
        try:
            await _printed(process, b"ready", len(children))
            yield process
        finally:
            process.kill()
            await process.wait()


async def _printed(process: trio.Process, line: bytes, times: int) -> None:
    """Return once the pool's process has printed `line` so many times."""
    assert process.stdout is not None
    seen = b""
    with trio.fail_after(PATIENCE_S):
        while seen.count(b"| " + line) < times:
            data = await process.stdout.receive_some()
            assert data, f"the pool has ended: {seen!r}"
            seen += data


async def test_children_do_not_outlive_a_killed_pool(witness: Witness) -> None:
    children = [witness.hold + code for code in (WATCHING, LIVE, STUBBORN)]
    async with _pool_process(POOL, children) as process:
        process.kill()
        await witness.gone()


PATIENT_POOL = POOL.replace("drain_timeout_s=0.2", "drain_timeout_s=3600")


async def test_the_first_interrupt_drains_and_the_second_kills(witness: Witness) -> None:
    children = [witness.hold + code for code in (WATCHING, POLITE, STUBBORN)]
    async with _pool_process(PATIENT_POOL, children) as process:
        process.send_signal(signal.SIGINT)
        await _printed(process, b"bye", 1)
        process.send_signal(signal.SIGINT)
        with trio.fail_after(PATIENCE_S):
            assert await process.wait() == -signal.SIGINT
        await witness.gone()


def cut(handle: ProcessHandle) -> None:
    """Cut the lifeline of a process, as the kernel does when its pool is killed."""
    assert handle.lifeline is not None
    with socket.socket(fileno=os.dup(handle.lifeline.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


async def test_a_child_that_watches_its_lifeline_needs_no_reaper(witness: Witness) -> None:
    lines = Lines()
    watching = [sys.executable, "-c", witness.hold + WATCHING]
    async with open_pool(on_line=lines) as pool:
        handle = await pool.start(ProcessSpec(name="a", argv=watching, watches_lifeline=True))
        await lines.until("a", "ready")
        assert pool.statistics().reaper is None
        cut(handle)
        await witness.gone()
        await pool.stop()
