"""The node process: interpreter, activations, executor; and the pool that starts nodes."""
