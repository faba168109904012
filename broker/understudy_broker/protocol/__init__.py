"""The wire contract: which messages there are (`messages`) and how they travel (`frames`)."""
