"""A process's side of the broker: connection, pending requests, calls from outside functions."""
