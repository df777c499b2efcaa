"""Pure functions on text lines: direction, furigana, reading order, joined text."""
