"""The group shop: its function is called by the messages of a queue, and does not know it."""

from understudy import Context, Runtime

runtime = Runtime(group="shop")


@runtime.register
def checkout(ctx: Context, order: int, customer: str) -> str:
    """Check an order out, and return what was done."""
    del ctx
    line = f"order {order} of {customer} is checked out"
    print(line, flush=True)
    return line
