"""The door: what every request passes before a route sees it. Knows no model and no product feature."""
