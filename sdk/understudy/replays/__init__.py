"""Replays of stored calls in this process: their functions run, and the record answers their steps.

`steps` replays one call. `rehearsal` replays many, to see which of them go on with changed code.
`debugger` replays one under a debugger. Nothing is performed or sent by any of them.
"""
