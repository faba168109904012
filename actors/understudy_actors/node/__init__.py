"""The node: performs the tasks of one group. `core` decides, `service` does the I/O."""
