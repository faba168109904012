"""An order is placed in one group and charged in another.

Each charge adds a line to a ledger, so that it can be counted how often it was performed.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from understudy import Context, Runtime

#: The environment variable with the path of the ledger.
LEDGER_ENV: Final = "CLUSTER_LEDGER"

runtime = Runtime(group="orders")


@runtime.register
def order(ctx: Context, number: int) -> Generator[Any, Any, str]:
    """Place an order."""
    charged: int = yield ctx.rpc("charge", number).options(target="payments")
    return f"order {number}: {charged} paid"


@runtime.register
def charge(ctx: Context, number: int) -> int:
    """Charge for an order, which should happen once."""
    # One write to a file opened for appending, so lines of several processes do not mix.
    with Path(os.environ[LEDGER_ENV]).open("ab", buffering=0) as ledger:
        ledger.write(f"{ctx.id}\n".encode())
    return price(number)


def price(number: int) -> int:
    """Return what an order costs."""
    return 10 + number % 90


def answer(number: int) -> str:
    """Return what `order` must return."""
    return f"order {number}: {price(number)} paid"
