"""A schedule: the broker calls a function by the clock.

A cron expression has five fields, or six of which the first is seconds. Each call has an id of its
own, so it is made exactly once and can be looked up later. Calls that were due while the broker was
down are made when it is back, unless `catch_up` says otherwise. Here two calls never run at a time,
and the expression of the nightly one is read by the clocks of Vienna.

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
        alone = runtime.schedules.options(overlap="skip")
        alone.create("every-second", "* * * * * *", report, "the sales")
        for _ in range(2):
            print(reports.get(timeout=30))
        runtime.schedules.delete("every-second")

        local = alone.options(zone="Europe/Vienna", catch_up="last")
        local.create("nightly", "30 2 * * *", report, "the stock")
        runtime.schedules.pause("nightly", "the warehouse moves")
        runtime.schedules.trigger("nightly")  # Now, and not only tonight.
        print(reports.get(timeout=30))
        runtime.schedules.delete("nightly")
        print("schedules left:", len(list(runtime.schedules.search())))


if __name__ == "__main__":
    main()
