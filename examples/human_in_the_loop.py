"""Waiting for a person: `ctx.promise` makes a promise that is settled from outside.

The function asks for approval and waits, for minutes or for weeks, and occupies no process in the
meantime. The answer settles the promise by its id: here from the main thread; elsewhere from a
webhook, or with ``understudy promises resolve ID``.

Run it with ``python examples/human_in_the_loop.py``.
"""

import queue
from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime.local()

#: The reviewer's mail: (promise id, text).
mail: queue.Queue[tuple[str, str]] = queue.Queue()


@runtime.register
def publish(ctx: Context, title: str) -> Generator[Any, Any, str]:
    approval = yield from ctx.promise(timeout=3600)
    yield ctx.run(send_mail, approval.id, f"May {title!r} be published?")
    decision = yield from approval
    return f"{title!r} is published" if decision == "yes" else f"{title!r} stays in the drawer"


def send_mail(_: Context, promise_id: str, text: str) -> None:
    mail.put((promise_id, text))


def main() -> None:
    with runtime:
        for id, title, answer in (("post-1", "Durable calls", "yes"), ("post-2", "Draft", "no")):
            handle = runtime.rpc(id, publish, title)
            promise_id, text = mail.get(timeout=30)
            print(f"{text} (the answer goes to promise {promise_id})")
            runtime.promises.resolve(promise_id, answer)
            print(f"{answer}: {handle.result(timeout=30)}")


if __name__ == "__main__":
    main()
