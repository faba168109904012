"""The queues that a source can be fed from; each module needs the extra of its name."""
