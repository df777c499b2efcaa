"""One model in a process of its own, as the gateway sees it."""
