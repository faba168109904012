"""Other systems, measured with the same workloads and their own idioms.

Each has an adapter in `adapters.py`, with the packages to install and the processes to start, and a
program ``on_*.py``. The program runs in the system's own environment under ``.envs``, so of our
modules it imports only those that need nothing but the standard library.
"""
