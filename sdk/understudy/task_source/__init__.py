"""Tasks from a queue: what a runtime with a `task_source` has instead of a group's offers.

`feed` takes messages while there is room for functions, acquires the tasks that they name, and
acknowledges them then. The queues are those of `sources`.
"""
