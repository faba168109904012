"""A peer's side of the protocol: a session, the connection that carries it, and the link on top."""
