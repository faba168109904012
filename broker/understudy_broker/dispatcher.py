"""The dispatcher: nodes, groups, credit and queues; who gets which task next. Pure."""
