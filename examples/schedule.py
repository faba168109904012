"""A schedule: the broker makes a call by the clock, whether or not anybody runs.

A cron expression of six fields begins with seconds. Each occurrence is a call with an id of its
own, so it can be looked up later, and is made exactly once. What was missed while the broker was
down is made up for.
"""

import queue

from understudy import Context, Runtime

runtime = Runtime.local()

reports: queue.Queue[str] = queue.Queue()


@runtime.register
def report(ctx: Context, of: str) -> None:
    reports.put(f"a report of {of}, asked for by promise {ctx.id.rpartition('.')[0]}.<time>")


def main() -> None:
    with runtime:
        runtime.schedules.create("every-second", "* * * * * *", report, "the stage")
        for _ in range(2):
            print(reports.get(timeout=30))
        runtime.schedules.delete("every-second")
        print("schedules left:", len(list(runtime.schedules.search())))


if __name__ == "__main__":
    main()
