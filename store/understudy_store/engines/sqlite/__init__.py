"""The SQLite engine: a journal that is fast to write, and SQLite's file behind it."""
