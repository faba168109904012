"""A schedule: the broker calls a function by the clock.

A cron expression has five fields, or six of which the first is seconds. Each call has an id of its
own, so it is made exactly once and can be looked up later. Calls that were due while the broker was
down are made when it is back.

Run it with ``python examples/schedule.py``.
"""

import queue

from understudy import Context, Runtime

runtime = Runtime.local()

reports: queue.Queue[str] = queue.Queue()


@runtime.register
def report(ctx: Context, subject: str) -> None:
    reports.put(f"a report on {subject}, by the call {ctx.id.rpartition('.')[0]}.<time>")


def main() -> None:
    with runtime:
        runtime.schedules.create("every-second", "* * * * * *", report, "the sales")
        for _ in range(2):
            print(reports.get(timeout=30))
        runtime.schedules.delete("every-second")
        print("schedules left:", len(list(runtime.schedules.search())))


if __name__ == "__main__":
    main()
