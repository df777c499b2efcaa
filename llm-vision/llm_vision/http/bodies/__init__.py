"""Bodies as they come over the wire: bytes, JSON, multipart."""
