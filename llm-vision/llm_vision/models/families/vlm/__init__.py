"""Vision-language models."""

from . import llava as llava  # registers it
