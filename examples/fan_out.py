"""Fan-out: many calls at the same time, and their results combined.

`ctx.map` calls a function for each item, at most `window` of them at a time. `ctx.begin_rpc`
starts a single call and returns a promise at once; `yield from` the promise when its value is
needed.

Run it with ``python examples/fan_out.py``.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime.local()

PAGES = {
    "home": "welcome to the theater",
    "program": "tonight the understudy plays the lead",
    "cast": "the lead and the understudy",
}


@runtime.register
def count_words(_: Context, page: str) -> int:
    return len(PAGES[page].split())


@runtime.register
def longest_word(_: Context, page: str) -> str:
    return max(PAGES[page].split(), key=len)


@runtime.register
def survey(ctx: Context, pages: list[str]) -> Generator[Any, Any, str]:
    longest = yield from ctx.begin_rpc(longest_word, pages[1])
    counts = yield from ctx.map(count_words, pages, window=2)
    word = yield from longest
    return f"words per page: {counts}, together {sum(counts)}; the longest on page 2 is {word!r}"


def main() -> None:
    with runtime:
        print(runtime.rpc("survey-1", survey, list(PAGES)).result(timeout=30))


if __name__ == "__main__":
    main()
