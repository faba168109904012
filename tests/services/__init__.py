"""Real queues for the tests: found on the machine, or fetched, and run in folders of their own.

`debian` and `maven` fetch programs into a cache, as any user; `server` runs one. There is a module
for each queue, whose class starts, kills and starts again a server on the same files.
"""
