"""LLM Vision: a self-hosted service that reads manga text and answers questions about pictures."""

__version__ = "0.2.0"
