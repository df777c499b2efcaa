"""Answers questions about a picture."""
