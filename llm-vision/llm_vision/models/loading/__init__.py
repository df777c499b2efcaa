"""What the families share to load weights."""
