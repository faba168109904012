"""Actions on many calls at once: which are meant, what is asked of the broker, and what came of it.

All of it is pure. A *conversation* is a generator that yields batches of commands and is sent their
answers, so a command line, an event loop and a test can hold it: see `conversation`.
"""
