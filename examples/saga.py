"""A saga: several steps that succeed together or are undone together.

If a step fails, the steps before it are undone in reverse order. The code is an ordinary `except`,
but no crash can leave half a trip booked: the finished steps are in the store, so the node that
continues the function knows them and undoes exactly those.

Run it with ``python examples/saga.py``.
"""

from collections.abc import Callable, Generator
from typing import Any

from understudy import Context, Never, NonRetryableError, Runtime

runtime = Runtime.local()

Step = Callable[[Context, str], str]


class SoldOutError(NonRetryableError):
    """Not retried, because another attempt would fail in the same way."""


def book_flight(_: Context, city: str) -> str:
    print(f"  flight to {city} booked")
    return f"flight to {city}"


def cancel_flight(_: Context, city: str) -> str:
    print(f"  flight to {city} canceled")
    return city


def book_hotel(_: Context, city: str) -> str:
    print(f"  hotel in {city} booked")
    return f"hotel in {city}"


def cancel_hotel(_: Context, city: str) -> str:
    print(f"  hotel in {city} canceled")
    return city


def book_theater(_: Context, city: str) -> str:
    if city == "Paris":
        raise SoldOutError(f"the theater in {city} is sold out")
    print(f"  theater in {city} booked")
    return f"theater in {city}"


@runtime.register
def book_trip(ctx: Context, city: str) -> Generator[Any, Any, list[str]]:
    undo: list[Step] = []
    done: list[str] = []
    try:
        done.append((yield from ctx.run(book_flight, city)))
        undo.append(cancel_flight)
        done.append((yield from ctx.run(book_hotel, city)))
        undo.append(cancel_hotel)
        done.append((yield from ctx.run(book_theater, city).options(retry=Never())))
    except SoldOutError:
        for step in reversed(undo):
            yield from ctx.run(step, city)
        raise
    return done


def main() -> None:
    with runtime:
        for city in ("London", "Paris"):
            print(f"A trip to {city}:")
            try:
                print(f"  done: {', '.join(runtime.rpc(f'trip-{city}', book_trip, city).result())}")
            except SoldOutError as error:
                print(f"  no trip: {error}")


if __name__ == "__main__":
    main()
