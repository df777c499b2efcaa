"""Makes text with a language model: several requests at a time, token by token."""
