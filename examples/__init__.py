"""Examples: short programs of one idea each, and a larger system in `async_rpc`.

The first lines of each say what it shows and how to run it.
"""
