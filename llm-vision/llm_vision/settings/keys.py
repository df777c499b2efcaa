"""Settings of keys: who may use the service, who may manage it, and how often."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .group import SecretList, SettingsGroup


class KeySettings(SettingsGroup):
    """Variables under the heading Keys."""

    api_keys: SecretList = ()
    """Keys that may use the service, comma separated. Without these and admin keys, no key is asked for."""
    admin_keys: SecretList = ()
    """Keys that may also load, unload, download and delete models. Empty: every valid key may."""
    key_requests_per_minute: Annotated[int, Field(ge=0)] = 0
    """Requests (POST, DELETE, GET /ocr) that each key may send in a minute; without keys, each address. 0: no limit."""
