"""Reads crops, pages and batches."""
