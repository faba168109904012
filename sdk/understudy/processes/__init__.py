"""Processes of a runtime: signals, and nodes spawned from a script."""
