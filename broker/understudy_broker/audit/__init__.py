"""The audit: a file with a hash chain of who was let in or refused, and who changed what."""
