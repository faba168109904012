"""The broker's core: what a router does with frames, as a pure state machine."""
