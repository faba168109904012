"""Actions on many calls at once: which are meant, what is asked of the broker, and what came of it.

All of it is pure. A *conversation* is a generator that yields batches of commands and is sent their
answers, so a command line (`hold`), an event loop (`hold_async`) and a test can hold it. An action
is two of them: the choice (`selection`) ends in a plan, which says what will happen (`plan_json`),
and `execute` carries it out and counts what comes of it.
"""
