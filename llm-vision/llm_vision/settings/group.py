"""What the groups of settings share: how they are read, and the kinds of their values."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ..durations import parse_seconds

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
            raise ValueError("a key must be printable ASCII without spaces, to fit into a header")
    return keys


def read_device(value: str) -> str:
    """A device as it is known; upper case does not matter.

    Raises:
        ValueError: it is none.
    """
    device = value.strip().lower()
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,2})?", device):
        raise ValueError("it must be auto, cpu, cuda, or one GPU: cuda:0, cuda:1, ...")
    return device


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

    @field_validator("*", mode="before")
    @classmethod
    def _read_as_people_write(cls, value: object, info: ValidationInfo) -> object:
        """Choices in any case, and durations as `5m`."""
        field = cls.model_fields[info.field_name or ""]
        if not isinstance(value, str):
            return value
        if get_origin(field.annotation) is Literal:
            spelled = {str(choice).lower(): choice for choice in get_args(field.annotation)}
            return spelled.get(value.strip().lower(), value)
        if (info.field_name or "").endswith(("_seconds", "keep_alive")):
            try:
                return parse_seconds(value)
            except (ValueError, OverflowError):
                raise ValueError("it must be a number of seconds, or a duration as 90s, 5m or 1h30m") from None
        return value
