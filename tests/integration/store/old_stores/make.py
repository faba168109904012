"""Make a store that a version of understudy leaves behind when it is killed; see README.md."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib import import_module
from pathlib import Path
from struct import pack
from typing import Any
from zlib import crc32

HERE = Path(__file__).parent
#: promises that are made last, in less time than SQLite's file lags behind the journal
LAST = 40


def like_records() -> bytes:
    """Return a payload that is made of heads of another store's records, wherever one may begin."""
    head = pack("<4s8sQI", b"usj1", b"OTHERSTO", 1, 0)
    record = head + pack("<I", crc32(b"", crc32(head)))
    return b"".join(b"\0" * at + record * (4096 // 4) + b"\0" * (-at % 4) for at in range(4))


def main() -> None:
    app = import_module("app")
    folder = Path(tempfile.mkdtemp())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    store = "sqlite:///store.db"
    understudy = [sys.executable, "-m", "understudy"]
    broker = subprocess.Popen(
        [*understudy, "broker", "--listen", url, "--store", store], cwd=folder
    )
    env = os.environ | {"UNDERSTUDY_URL": url}
    node = subprocess.Popen([sys.executable, str(HERE / "app.py")], env=env, cwd=folder)
    client = app.Runtime(url=url).options(timeout=app.FOREVER_S, target="old")
    state: dict[str, Any] = {}
    with client:
        for number in range(3):
            client.rpc(f"priced-{number}", "price", app.Order(number, ("x",) * (number + 1)))
            state[f"priced-{number}"] = client.get(f"priced-{number}").result(timeout=30)
        failed = client.rpc("failed", "price", app.Order(9, ()))
        try:
            failed.result(timeout=30)
        except ValueError as error:
            state["failed"] = str(error)
        yearly = client.options(timeout=3600.0).schedules
        yearly.create("yearly", "0 3 1 1 *", "price", app.Order(1, ("x",)))
        client.promises.create("hostile", value=like_records(), timeout=app.FOREVER_S)
        client.rpc("held", "slow", 3600.0)
        client.rpc("checkout", "checkout", app.Order(7, ("pen", "ink")))
        # Its task is suspended, and all of that in the file.
        time.sleep(3)
        for number in range(LAST):
            id = f"last-{number}"
            client.promises.create(id, timeout=app.FOREVER_S, value=number)
            if number % 2:
                client.promises.resolve(id, [number, "done"])
        broker.kill()
        broker.wait()
        node.kill()
        node.wait()
    (folder / "acknowledged.json").write_text(json.dumps(state))
    with tarfile.open(sys.argv[1], "w:xz", preset=9) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name, filter=anonymous)


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who made the file."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
