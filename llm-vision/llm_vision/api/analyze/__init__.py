"""Questions about a picture over HTTP."""
