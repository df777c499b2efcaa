"""Models, downloads, health and documentation over HTTP."""
