"""Which models are there, and which one answers."""
