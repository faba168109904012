"""Encrypted values: the store has only what nobody without the key can read.

A seal key encrypts arguments, results and errors before they leave the process. The store, which
here is a file, gets ciphertext. A process without the key gets an error instead of the value, which
says nothing about the call: with the key, its result is there.

It needs the extra [seal]. Run it with ``python examples/sealed_values.py``.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from understudy import Context, Runtime, SealedValueError


def charge(ctx: Context, card: str) -> str:
    return f"{ctx.id}: charged the card {card}"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        keys, store = Path(name, "seal.keys"), Path(name, "calls.db")
        make = [sys.executable, "-m", "understudy", "seal", "new", "--file", str(keys)]
        subprocess.run(make, check=True, capture_output=True)

        with Runtime.local(str(store), seal_keys=keys) as runtime:
            runtime.register(charge)
            print(runtime.rpc("charge-1", charge, "4711-0815").result(timeout=30))

        files = b"".join(path.read_bytes() for path in Path(name).glob("calls.db*"))
        print("the id is in the files:", b"charge-1" in files)
        print("the card is in the files:", b"4711-0815" in files)

        with Runtime.local(str(store), pickle=False) as without_key:
            try:
                without_key.get("charge-1").result(timeout=30)
            except SealedValueError:
                print("without the key there is no result")

        with Runtime.local(str(store), seal_keys=keys) as again:
            print("with the key:", again.get("charge-1").result(timeout=30))


if __name__ == "__main__":
    main()
