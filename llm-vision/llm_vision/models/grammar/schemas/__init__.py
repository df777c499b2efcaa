"""Clients' JSON schemas, written anew so that a grammar follows them to the letter; pure Python, without a library."""

from __future__ import annotations

from .likeness import apart_from_calls
from .rewriting import SchemaWriter
from .words import UnusableSchema

__all__ = ["SchemaWriter", "UnusableSchema", "apart_from_calls"]
