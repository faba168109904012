"""The node: performs the tasks of one group. `core` decides, `shell` does the I/O."""
