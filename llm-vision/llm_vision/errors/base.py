"""What every deliberate error is, and the register of all by their codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar


class VisionError(Exception):
    """An error that a client may see.

    Args:
        detail: what was wrong and what would be right, for people.
        param: the field that is at fault.
        retry_after: seconds after which a repeated request has a chance.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    when: ClassVar[str]
    """When clients see it, for docs/api.md."""
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.param = param
        self.retry_after = retry_after

    @property
    def title(self) -> str:
        """The code in words."""
        words = self.code.replace("_", " ").capitalize()
        return re.sub(r"\b(http|json|uri)\b", lambda word: word[0].upper(), words, flags=re.IGNORECASE)

    @classmethod
    def with_code(cls, code: str, detail: str, param: str | None = None, retry_after: int | None = None) -> VisionError:
        """The error of that code: how an error crosses from a worker process.

        Raises:
            KeyError: no error has the code.
        """
        return registry()[code](detail, param=param, retry_after=retry_after)


def _subclasses(error: type[VisionError]) -> Iterator[type[VisionError]]:
    for child in error.__subclasses__():
        yield child
        yield from _subclasses(child)


def registry() -> dict[str, type[VisionError]]:
    """Every error that has a code, by code."""
    return {error.code: error for error in _subclasses(VisionError) if "code" in vars(error)}
