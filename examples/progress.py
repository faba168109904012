"""Progress and cancellation: a plain function says how far it is, and stops when nobody wants it.

A plain function runs on a thread of its own, which nobody can stop from outside. So it looks at
`ctx.canceled` now and then, or pauses with `ctx.wait_canceled`. A program that it has started with
`subprocesses.run` ends by itself.

While it runs, ``understudy tree`` shows what was told with `ctx.progress`, if there is a broker to
ask; this program has one of its own, so it prints it.

Run it with ``python examples/progress.py``.
"""

import threading
from collections.abc import Callable
from typing import Any

import understudy
from understudy import CanceledError, Context, Runtime, subprocesses

runtime = Runtime.local()
begun = threading.Semaphore(0)
ended = threading.Semaphore(0)


def copy_pages(pages: int) -> int:
    """Copy pages; it knows nothing of durable functions, but who calls it may."""
    ctx = understudy.current()
    for page in range(pages):
        if ctx is not None:
            ctx.progress(page / pages, f"page {page + 1} of {pages}")
            if page == 1:
                begun.release()
            if ctx.wait_canceled(0.01):
                print(f"stopped at page {page + 1}")
                ended.release()
                return page
    return pages


@runtime.register
def copy_book(ctx: Context, pages: int) -> int:
    print(f"this call has {ctx.remaining / 3600:.1f} hours left")
    return copy_pages(pages)


@runtime.register
def convert(ctx: Context) -> None:
    ctx.progress(text="converts")
    begun.release()
    try:
        subprocesses.run(["sleep", "600"])
    except CanceledError:
        print("the program has ended, too")
        ended.release()
        raise


def cancel(id: str, function: Callable[..., Any], *args: int) -> None:
    """Call a function, cancel the call in the middle, and wait until the function has noticed."""
    call = runtime.rpc(id, function, *args)
    begun.acquire()
    call.cancel()
    ended.acquire()
    try:
        call.result()
    except CanceledError:
        print(f"{id} was canceled")


if __name__ == "__main__":
    with runtime:
        print("copied:", runtime.options(timeout=3600).rpc("small", copy_book, 3).result())
        begun.acquire()
        cancel("large", copy_book, 1_000_000)
        cancel("film", convert)
