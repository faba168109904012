"""Processes of a runtime: stopping at a signal, and nodes spawned from a script."""
