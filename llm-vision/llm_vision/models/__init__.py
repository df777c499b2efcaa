"""One file per model family; a new file is a new model."""
