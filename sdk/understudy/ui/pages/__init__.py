"""The pages: each reads what it shows, and returns a `View`."""
