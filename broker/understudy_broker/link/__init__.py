"""A peer's side of the protocol: a link has a connection, which carries a session."""
