"""Weights on their volumes: where, whole, proven."""
