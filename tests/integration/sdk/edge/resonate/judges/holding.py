"""A service with the Python SDK of Resonate, 0.7 and 0.8, whose function can be held in the middle.

python holding.py URL GROUP
"""

import asyncio
import sys
from pathlib import Path

from resonate.resonate import Resonate

URL, GROUP = sys.argv[1:3]


async def step(ctx, n: int, folder: str) -> int:
    """Note that it runs, and work until there is a file."""
    with Path(folder, "steps.txt").open("a") as ledger:
        ledger.write(f"{n}\n")
    while not Path(folder, "first").exists():
        await asyncio.sleep(0.02)
    return n + 1


async def held(ctx, n: int, folder: str) -> int:
    more = await ctx.run(step, n, folder)
    return await ctx.options(target="ours").rpc("hold", more, f"{folder}/second")


async def main() -> None:
    resonate = Resonate(url=URL, group=GROUP)
    resonate.register(step)
    resonate.register(held)
    await asyncio.Event().wait()


asyncio.run(main())
