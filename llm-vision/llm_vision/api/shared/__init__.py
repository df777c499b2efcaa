"""What the routes of several wire formats use."""
