"""Two brokers that share the work, two nodes that serve both, and a program that calls."""
