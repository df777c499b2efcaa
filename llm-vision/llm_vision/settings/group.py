"""What the groups of settings share: how they are read, and the kinds of their values."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MEBIBYTE = 1024 * 1024


def parts_of(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _split_commas(value: object) -> object:
    return parts_of(value) if isinstance(value, str) else value


def _check_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if host != "*" and not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]", host):
            raise ValueError("a host is a name or address, without scheme, port or path")
    return hosts


def _check_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for key in keys:
        if not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("a key is of printable ASCII without spaces: others do not fit into a header")
    return keys


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
HostList = Annotated[CommaList, AfterValidator(_check_hosts)]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_commas), AfterValidator(_check_keys)]


class SettingsGroup(BaseSettings):
    """Some of the variables: those under one heading of docs/configuration.md."""

    model_config = SettingsConfigDict(
        env_prefix="VISION_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )
