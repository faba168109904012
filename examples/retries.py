"""Retries: a leaf that raises is tried again, as its policy says. Its caller sees only the outcome.

The default policy is exponential. `Constant`, `Linear` and `Never` are others, given where the
function is registered, or for one call with `.options(retry=...)`. After the last attempt, and at
once after a `NonRetryableError`, the original exception reaches the caller.

Run it with ``python examples/retries.py``.
"""

from collections.abc import Generator
from typing import Any

from understudy import Constant, Context, Never, NonRetryableError, Runtime

runtime = Runtime.local()


class NoSuchCustomerError(NonRetryableError):
    """Not retried, because another attempt would fail in the same way."""


@runtime.register(retry=Constant(pause_s=0.05, max_attempts=5))
def charge(ctx: Context, customer: str, successful_attempt: int) -> str:
    attempt = ctx.info.attempt
    if customer == "nobody":
        raise NoSuchCustomerError(f"no customer {customer!r}")
    if attempt < successful_attempt:
        print(f"  attempt {attempt} for {customer}: the bank does not answer")
        raise ConnectionError("the bank does not answer")
    return f"{customer} charged at attempt {attempt}"


@runtime.register
def checkout(ctx: Context) -> Generator[Any, Any, str]:
    print((yield from ctx.rpc(charge, "ann", 3)))
    try:
        yield ctx.rpc(charge, "bob", 3).options(retry=Never())
    except ConnectionError as error:
        print(f"bob has only one attempt: {error}")
    try:
        yield ctx.rpc(charge, "nobody", 1)
    except NoSuchCustomerError as error:
        print(f"not retried: {error}")
    return "checked out"


def main() -> None:
    with runtime:
        print(runtime.rpc("checkout-1", checkout).result(timeout=30))


if __name__ == "__main__":
    main()
