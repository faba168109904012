"""Durable async RPC between actor processes."""
