"""Nine services and a gateway that show three flows of asynchronous RPC (see README.md)."""
