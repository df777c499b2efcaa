"""Where a model can run, and with how many bits."""
