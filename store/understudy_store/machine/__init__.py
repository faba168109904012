"""The machine: every rule of the promise store, pure. No clock, no I/O, no randomness."""
