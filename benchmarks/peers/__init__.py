"""Other systems, measured with the same workloads and their own idioms.

Each has an adapter in `adapters.py`, which says what to install and to start, and a program
``on_*.py``, which runs in that system's own environment under ``.envs`` and imports nothing of
ours but what needs only the standard library.
"""
