"""Models of other servers, by OpenAI's API."""

from . import model as model  # registers it
