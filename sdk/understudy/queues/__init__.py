"""What sources, connectors and task sources need in common of each kind of queue."""
