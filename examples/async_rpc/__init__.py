"""Nine services and a gateway: the three request flows of asynchronous RPC (see README.md)."""
