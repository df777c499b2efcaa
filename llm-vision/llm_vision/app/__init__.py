"""Builds every object once, joins the layers, and owns the start and the stop."""
