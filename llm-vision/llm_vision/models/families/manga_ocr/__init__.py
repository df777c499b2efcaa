"""MangaOCR: a vision encoder and a text decoder for crops."""

from . import model as model  # registers it
