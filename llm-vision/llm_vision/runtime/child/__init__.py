"""Inside a worker's process."""
