"""The machine and the software that figures come from: without them, figures mean little."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("understudy", "pyzmq", "msgspec", "trio", "sqlalchemy", "sqlmodel")
#: Syncs whose median is the cost of a sync.
SYNCS = 50
#: Seconds for which the load of the cores is observed.
OBSERVED_S = 0.5
#: Cores that other work may use during a measurement that counts.
BUSY_MAX = 0.3


def host() -> dict[str, Any]:
    """Describe processor, memory and system, and measure a sync to the disk."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "file_system": _file_system(Path(tempfile.gettempdir())),
        "sync_of_4_kib_ms": round(sync_ms(), 3),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and packages, and the commit that is measured."""
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    found["commit"] = _commit()
    return found


def load_average() -> list[float]:
    """Return the load of the last one, five and fifteen minutes.

    If it is above the number of cores, figures are noise.
    """
    return [round(load, 2) for load in os.getloadavg()]


def sync_ms() -> float:
    """Return the median time to overwrite and sync 4 KiB in the folder where stores will be."""
    times: list[float] = []
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(4096))
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.seek(0)
            file.write(os.urandom(4096))
            file.flush()
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[SYNCS // 2]


def rss_mib(pid: int) -> float | None:
    """Return the resident memory of a process; None if the system does not tell."""
    text = _field(f"/proc/{pid}/status", "VmRSS")
    return None if text is None else int(text.split()[0]) / 1024


def tree_mib(pid: int) -> float | None:
    """Return the resident memory of a process and its descendants; shared pages count once."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        text = _field(f"{folder}/status", "PPid")
        if text is not None:
            children.setdefault(int(text), []).append(int(folder.name))
    total, left = 0.0, [pid]
    while left:
        each = left.pop()
        mib = _share_mib(each)
        if mib is None and each == pid:
            return None
        total += mib or 0.0
        left += children.get(each, [])
    return total


def _share_mib(pid: int) -> float | None:
    """Return resident memory in which a page shared by n processes counts as 1/n."""
    text = _field(f"/proc/{pid}/smaps_rollup", "Pss")
    return None if text is None else int(text.split()[0]) / 1024


def cpu_s(pid: int) -> float | None:
    """Return the processor time of the threads of a process; None if the system does not tell.

    Read for each thread to the nanosecond, because ``/proc/PID/stat`` counts in steps of 10 ms.
    """
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        return None


def busy_cores() -> float | None:
    """Return the number of cores in use now; None if the system does not tell."""
    before = _idle_s()
    began = time.monotonic()
    time.sleep(OBSERVED_S)
    after = _idle_s()
    if before is None or after is None:
        return None
    idle = (after - before) / (time.monotonic() - began)
    return max(0.0, (os.cpu_count() or 1) - idle)


def _idle_s() -> float | None:
    """Return the idle time of all cores together since the start of the system."""
    try:
        return float(Path("/proc/uptime").read_text().split()[1])
    except OSError:
        return None


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _memory_gib() -> float | None:
    text = _field("/proc/meminfo", "MemTotal")
    return None if text is None else round(int(text.split()[0]) / 2**20, 1)


def _file_system(path: Path) -> str | None:
    """Return the type of the file system that contains `path`."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return None
    above = {str(path), *(str(parent) for parent in path.parents)}
    found = [(len(fields[1]), fields[2]) for fields in mounts if fields[1] in above]
    return max(found)[1] if found else None


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
