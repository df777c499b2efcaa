"""Faults and bad input against a live server: the rows and promises of docs/reliability.md."""
