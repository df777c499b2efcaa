"""Every model family: a new file or folder here is a new model."""
