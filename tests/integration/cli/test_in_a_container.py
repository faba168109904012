"""A broker as it runs in a container of Kubernetes: process 1, with its keys from a Secret."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.programs import environment, wait_until
from tests.support import free_url
from understudy import Runtime
from understudy.bench.deployment import free_port
from understudy.cli import main
from understudy.errors import UnderstudyError

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_unshare() -> bool:
    """Return whether a process may have process ids of its own here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0


class Secret:
    """A folder as Kubernetes mounts a Secret: links, all of which change at once.

    The pod's group may read the files (`fsGroup`), and anybody may write to the folder itself,
    which is mounted for reading only.
    """

    def __init__(self, folder: Path, files: dict[str, bytes]) -> None:
        self._folder = folder
        self._count = 0
        folder.mkdir()
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")
        self.put(files)
        folder.chmod(0o1777)

    @property
    def data(self) -> Path:
        return self._folder / "..data"

    def put(self, files: dict[str, bytes]) -> None:
        self._count += 1
        target = self._folder / f"..{self._count}"
        target.mkdir()
        for name, text in files.items():
            (target / name).write_bytes(text)
            (target / name).chmod(0o440)
        target.chmod(0o755)
        link = self._folder / "..data_tmp"
        link.symlink_to(target.name)
        link.rename(self.data)


def made(keys: Path, *names: str) -> dict[str, bytes]:
    return {name: (keys / name).read_bytes() for name in names}


@pytest.mark.skipif(not can_unshare(), reason="no process may have process ids of its own here")
def test_a_broker_is_process_1_with_keys_of_a_secret_that_changes(tmp_path: Path) -> None:
    keys, url = tmp_path / "keys", free_url()
    for words in (["init"], ["new", "node", "--role", "everything"]):
        assert main(["keys", *words, "--folder", str(keys)]) == 0
    of_broker = ("broker.key", "broker.pub", "rights.toml")
    brokers = Secret(tmp_path / "brokers", made(keys, *of_broker))
    nodes = Secret(tmp_path / "nodes", made(keys, "node.key", "broker.pub"))
    metrics = f"127.0.0.1:{free_port()}"
    command = [
        *(sys.executable, "-m", "understudy", "broker", "--listen", url, "--metrics", metrics),
        *("--keys", str(brokers.data), "--store", f"sqlite:///{tmp_path}/calls.db"),
    ]
    env = environment(CREDENTIALS_DIRECTORY=str(brokers.data))

    def said() -> str:
        return (tmp_path / "log").read_text()

    with (tmp_path / "log").open("w") as log:
        outer = subprocess.Popen([*NAMESPACE, *command], env=env, stderr=log)
    try:
        wait_until(lambda: main(["health", "--ready", "--http", metrics]) == 0, said)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "nodes"))
            own = str(tmp_path / "nodes/broker.pub")
            with Runtime("g", url=url, key="node.key", broker_key=own) as runtime:
                runtime.promises.create("p")
            # A Secret that changes is followed: who is not in it any more is refused.
            assert main(["keys", "revoke", "node", "--folder", str(keys)]) == 0
            brokers.put(made(keys, *of_broker))
            wait_until(lambda: _is_refused(url, own), said)
        assert nodes.data.is_symlink()
        first = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()[0])
        os.kill(first, signal.SIGTERM)
        assert outer.wait(20) == 0, said()
    finally:
        outer.kill()
        outer.wait()


def _is_refused(url: str, broker_key: str) -> bool:
    keyed = Runtime("g", url=url, connect_timeout=1, key="node.key", broker_key=broker_key)
    try:
        with keyed as runtime:
            runtime.promises.get("p")
    except UnderstudyError as error:
        return "does not take the key" in str(error)
    return False
