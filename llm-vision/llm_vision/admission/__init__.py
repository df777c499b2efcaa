"""Who is let in, whose turn it is, and when it must end."""
