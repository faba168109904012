"""Examples: each folder is one, and says in its first lines how to run it."""
