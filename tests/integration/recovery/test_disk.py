"""A disk that is full, fails or is read-only: no call is acknowledged that is not stored."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.integration.recovery.load import Load
from tests.integration.recovery.world import World

#: the initial size of the store's journal, with room for a little more, in bytes
FULL_BYTES: Final = 200_000
DISK_MIB: Final = 64

#: makes fsync or write fail as soon as a file is there
FAULTS_C: Final = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int faulty(const char *kind) {
    const char *path = getenv("RECOVERY_FAULT");
    const char *what = getenv("RECOVERY_FAULT_KIND");
    return path && what && !strcmp(what, kind) && !access(path, F_OK);
}

int fsync(int fd) {
    if (faulty("fsync")) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
    if (faulty("fsync")) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (faulty("write")) { errno = EIO; return -1; }
    if (faulty("read-only")) { errno = EROFS; return -1; }
    return ((ssize_t (*)(int, const void *, size_t, off64_t)) dlsym(RTLD_NEXT, "pwrite64"))
        (fd, data, size, at);
}
"""


def stopped_with_reason(world: World) -> str:
    """Check that the broker has ended by itself, and that its last line says why."""
    assert world.broker.ended() == 1, world.broker.output
    last = world.broker.output.splitlines()[-1]
    assert "Traceback" not in world.broker.output
    assert f"the store sqlite:///{world.store}" in last
    assert "failed: " in last
    assert "All that was acknowledged is safe" in last
    return last


def goes_on(world: World, load: Load) -> None:
    """Start the broker on a repaired disk; check that all calls end and all nodes live."""
    world.start_broker()
    load.wait_for_calls()
    load.finish()
    # The node has survived, so no step ran twice.
    assert set(world.begun().values()) == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes")
def test_full_by_limit(world: World, load: Load) -> None:
    """No file may grow beyond a limit. That needs no privileges and looks like a full disk."""
    world.start_broker()
    world.start_node("n-1")
    load.start()
    world.broker.limit_files(FULL_BYTES)
    stopped_with_reason(world)
    goes_on(world, load)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A small disk in ``tmp_path / "disk"``; a call mounts it again with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={DISK_MIB}m"

    def mount(*arguments: str) -> bool:
        program = shutil.which("mount")
        return (
            program is not None
            and not subprocess.run(
                [program, *arguments, str(folder)], capture_output=True, check=False
            ).returncode
        )

    if not mount("-t", "tmpfs", "-o", options, "none"):
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        yield lambda mode: None if mount("-o", f"remount,{options},{mode}") else pytest.fail(mode)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full(world: World, load: Load, disk: object) -> None:
    """The disk has no free byte; after room is made, everything goes on."""
    world.store = world.folder / "disk" / "calls.db"
    # The room that the store has for its journal is soon used up.
    load.size = 200_000
    world.start_broker()
    world.start_node("n-1")
    load.start()
    filler = world.folder / "disk" / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65536)):
            pass
    assert "full" in stopped_with_reason(world)
    # The broker does not start either, and says so.
    refused = world.fork_broker()
    assert refused.ended() == 1
    assert str(world.store) in refused.output.splitlines()[-1]
    filler.unlink()
    goes_on(world, load)


def test_read_only(world: World, load: Load, disk: Callable[[str], None]) -> None:
    """The disk is mounted read-only: the broker refuses to start, and says why."""
    world.store = world.folder / "disk" / "calls.db"
    world.start_broker()
    world.start_node("n-1")
    load.start()
    world.broker.kill()
    disk("ro")
    refused = world.fork_broker()
    assert refused.ended() == 1
    last = refused.output.splitlines()[-1]
    assert str(world.store) in last
    assert "ead-only file system" in last
    disk("rw")
    goes_on(world, load)


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library between the broker and its disk."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("faults")
    (folder / "faults.c").write_text(FAULTS_C)
    command = [compiler, "-shared", "-fPIC", "-o", "faults.so", "faults.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return str(folder / "faults.so")


@pytest.mark.parametrize("kind", ["fsync", "write", "read-only"])
def test_an_error_of_the_disk(world: World, load: Load, faults: str, kind: str) -> None:
    """The system call that writes fails, or the one that makes the data durable."""
    fault = world.folder / "fault"
    env = {"LD_PRELOAD": faults, "RECOVERY_FAULT": str(fault), "RECOVERY_FAULT_KIND": kind}
    world.execute_broker(**env)
    world.start_node("n-1")
    load.start()
    fault.touch()
    stopped_with_reason(world)
    fault.unlink()
    goes_on(world, load)
