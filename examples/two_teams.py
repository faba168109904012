"""Two teams share one broker: each may do what its role in rights.toml permits, and no more.

Team `shop` takes orders, and calls the function `send` of team `mail`. Neither can see, change or
delay what is the other's, except by such a call; and `send` learns who has asked for it.

Run it with ``python examples/two_teams.py``.
"""

import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from understudy import Context, Runtime
from understudy.errors import CommandError

ROLES = """
[role.shop]
serve = ["shop"]
call = ["shop", "mail"]
ids = ["shop/"]
search = ["shop/"]
limits = { commands = 5000, pending = 10_000 }

[role.mail]
serve = ["mail"]
call = ["mail"]
ids = ["mail/"]
"""


def send(ctx: Context, to: str) -> str:
    return f"a letter to {to}, for {ctx.info.caller}"


def order(ctx: Context, customer: str) -> Generator[Any, Any, str]:
    letter: str = yield ctx.rpc("send", customer).options(target="mail")
    return letter


def understudy(*args: str) -> list[str]:
    return [sys.executable, "-m", "understudy", *args]


def make_keys(folder: Path) -> None:
    """Make the keys of the broker and of a node of each team, as an operator would by hand."""
    keys = ("--folder", str(folder))
    subprocess.check_output(understudy("keys", "init", *keys))
    with (folder / "rights.toml").open("a") as rights:
        rights.write(ROLES)
    for team in ("shop", "mail"):
        subprocess.check_output(understudy("keys", "new", f"{team}/node", "--role", team, *keys))


def try_what_is_not_permitted(mail: Runtime) -> None:
    try:
        mail.get("shop/1").result(timeout=10)
    except CommandError as error:
        print(f"mail reads what is the shop's: {error.status}")
    try:
        mail.options(target="shop").rpc("mail/1", "order", "Eve").result()
    except CommandError as error:
        print(f"mail calls what is the shop's: {error.status}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        keys, url = Path(folder, "keys"), f"ipc://{folder}/broker"
        make_keys(keys)

        def runtime(team: str) -> Runtime:
            key = keys / f"{team}.node.key"
            return Runtime(url=url, group=team, key=key, broker_key=keys / "broker.pub")

        options = ("--listen", url, "--store", f"sqlite:///{folder}/store.db", "--no-http")
        command = understudy("broker", *options, "--keys", str(keys))
        broker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            shop, mail = runtime("shop"), runtime("mail")
            shop.register(order)
            mail.register(send)
            with shop, mail:
                print(shop.rpc("shop/1", order, "Ann").result())
                try_what_is_not_permitted(mail)
        finally:
            broker.terminate()
            broker.wait()


if __name__ == "__main__":
    main()
