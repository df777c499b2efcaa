"""Answers that must fit a JSON schema or a tool."""
