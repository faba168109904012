"""The interpreter: drives one durable function against what is known. Pure."""
