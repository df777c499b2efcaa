"""Pictures from bytes, data URIs and URLs."""
