"""Three brokers that share one PostgreSQL, and what happens when parts of it die (see demo.py)."""
