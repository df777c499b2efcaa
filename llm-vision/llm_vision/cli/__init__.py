"""The `llm-vision` command."""
