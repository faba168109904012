"""The promise store: commands, records, the pure machine, and the engines that keep it."""
