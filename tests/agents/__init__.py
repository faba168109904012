"""Agents of three libraries as durable functions on asyncio, killed and continued."""
