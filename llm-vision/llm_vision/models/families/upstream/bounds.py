"""How much another server may send for one answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from .errors import without_end

_KIBIBYTE = 1024
MOST_BYTES = 8 * _KIBIBYTE * _KIBIBYTE
_FIRST_BYTES = 64 * _KIBIBYTE
_BYTES_OF_TOKEN = 2 * _KIBIBYTE
"""Of a chunk with one token and its log-probability; vLLM's has 450, and its model's name may be long."""
_LEAST_PIECE_BYTES = 64
"""What a piece of a body counts at least: one byte at a time costs a hundred times as much to read as a chunk."""


def most_bytes(max_tokens: int) -> int:
    """Bytes that an answer of at most so many tokens may have, comments and ends of lines included."""
    return min(MOST_BYTES, _FIRST_BYTES + max_tokens * _BYTES_OF_TOKEN)


class BoundedBody(httpx2.AsyncByteStream):
    """A response's body that fails when it goes on for too long.

    Args:
        body: that of the response.
        room: bytes that it may have.
    """

    def __init__(self, body: httpx2.AsyncByteStream, room: int) -> None:
        self._body = body
        self._room = room

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yields its pieces.

        Raises:
            Failed: there are more than may be.
        """
        left = self._room
        async for piece in self._body:
            left -= max(len(piece), _LEAST_PIECE_BYTES)
            if left < 0:
                raise without_end(self._room)
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()
