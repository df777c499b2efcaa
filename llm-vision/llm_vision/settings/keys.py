"""Settings of keys: who may use the service, who may manage it, and how often."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .group import SecretList, SettingsGroup


class KeySettings(SettingsGroup):
    """Variables under the heading Keys."""

    api_keys: SecretList = ()
    """Keys that may use the service, comma separated. If there are no admin keys either, no key is required."""
    admin_keys: SecretList = ()
    """Keys that may also load, unload, download and delete models. Empty: every valid key may."""
    key_requests_per_minute: Annotated[int, Field(ge=0)] = 0
    """Requests (POST, DELETE, GET /ocr) per minute for each key, or for each address without keys. 0: no limit."""
    shared_cache: bool = False
    """Whether all keys share the models' caches of prompts and images. Otherwise each key has its own, because a cache
    hit reveals what others have sent. Enable this only if all clients trust each other: `on`."""
