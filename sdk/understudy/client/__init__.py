"""A runtime's side of the broker: the connection, pending requests, and calls from outside."""
