"""The broker as a server: its loop, its settings, its log, and the ways to run it."""
