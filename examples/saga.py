"""A saga: several steps that stand or fall together, each with one that undoes it.

When a step fails, what was done before is undone in reverse order. It is an ordinary `except`, and
yet no crash can leave half a trip booked: the steps that were done are in the store, so whoever
goes on with the function knows them, and undoes just those.
"""

from collections.abc import Callable, Generator
from typing import Any

from understudy import Context, Never, NonRetryableError, Runtime

runtime = Runtime.local()

Step = Callable[[Context, str], str]


class SoldOutError(NonRetryableError):
    """Another attempt would not help."""


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


def book_theatre(_: Context, city: str) -> str:
    if city == "Paris":
        raise SoldOutError(f"the theatre in {city} is sold out")
    print(f"  theatre in {city} booked")
    return f"theatre in {city}"


@runtime.register
def book_trip(ctx: Context, city: str) -> Generator[Any, Any, list[str]]:
    undo: list[Step] = []
    done: list[str] = []
    try:
        done.append((yield from ctx.run(book_flight, city)))
        undo.append(cancel_flight)
        done.append((yield from ctx.run(book_hotel, city)))
        undo.append(cancel_hotel)
        done.append((yield from ctx.run(book_theatre, city).options(retry=Never())))
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
