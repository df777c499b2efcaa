"""Pydantic bodies of the HTTP answers and requests, one file per api file."""
