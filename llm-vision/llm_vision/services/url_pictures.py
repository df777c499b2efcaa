"""Fetches pictures by URL, where an operator allows it: pinned to checked addresses, limited in size and time."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from ..errors import (
    ImageFetchFailed,
    ImageFetchTimeout,
    ImageFetchTooLarge,
    ImageUpstreamError,
    TooManyRedirects,
    UnsupportedImageFormat,
    UrlImagesDisabled,
    UrlNotAllowed,
)
from ..images.decode import sniff_format
from ..images.url import NOT_ALLOWED, Address, PictureUrl, UrlRules, check_addresses, parse

Resolve = Callable[[str, int], Awaitable[list[Address]]]
AT_ONCE = 4
"""Pictures that are fetched together; each may take `max_bytes` of memory."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200
_SERVER_ERROR = 500
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "llm-vision"}


@dataclass(frozen=True)
class FetchRules:
    """What a fetch may take."""

    urls: UrlRules
    max_bytes: int
    seconds: float
    redirects: int = 0
    allows_tiff: bool = False


async def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a name.

    Raises:
        OSError: the name is not known.
    """
    with contextlib.suppress(ValueError):
        return [ipaddress.ip_address(host)]  # some systems do not look up every address
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


class UrlPictures:
    """Pictures of other servers.

    Args:
        rules: which, how large and how long.
        resolve: how names become addresses.
    """

    def __init__(self, rules: FetchRules, resolve: Resolve = resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._places = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, text: str) -> bytearray:
        """The bytes behind a URL.

        Raises:
            UrlImagesDisabled, UrlSchemeNotAllowed, InvalidUrl, UrlNotAllowed, TooManyRedirects: it may not be fetched.
            ImageFetchFailed, ImageFetchTooLarge, ImageUpstreamError, ImageFetchTimeout: there was no picture to get.
        """
        if not self._rules.urls.hosts:
            raise UrlImagesDisabled(
                "pictures by URL are off; VISION_URL_HOSTS lists hosts that may be asked", param="url"
            )
        try:
            async with asyncio.timeout(self._rules.seconds):
                url = parse(text, self._rules.urls)
                async with self._places:
                    return await self._follow(url)
        except TimeoutError:
            limit = self._rules.seconds
            raise ImageFetchTimeout(f"the picture's server took longer than {limit:g} s", param="url") from None

    async def _follow(self, url: PictureUrl) -> bytearray:
        for _ in range(self._rules.redirects + 1):
            found = await self._get(url)
            if isinstance(found, bytearray):
                return found
            following = parse(urljoin(url.text, found), self._rules.urls)
            if url.scheme == "https" and following.scheme != "https":
                raise UrlNotAllowed(NOT_ALLOWED, param="url")
            url = following
        raise TooManyRedirects(f"the picture's server redirects more than {self._rules.redirects} times", param="url")

    async def _get(self, url: PictureUrl) -> bytearray | str:
        """The picture, or where else it is."""
        import httpx2  # noqa: PLC0415  (only who fetches pays for it)

        try:
            addresses = await self._resolve(url.host, url.port)
        except OSError:
            raise ImageUpstreamError("the picture's host is not known", param="url") from None
        address = check_addresses(url, addresses, self._rules.urls)
        extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        headers = {**_HEADERS, "Host": url.authority}
        try:
            async with (
                httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=self._rules.seconds) as client,
                client.stream("GET", url.at(address), headers=headers, extensions=extensions) as response,
            ):
                if response.status_code in _REDIRECTS:
                    return _location(response)
                return await self._body(response)
        except httpx2.RemoteProtocolError:
            raise ImageFetchFailed("the picture's server broke off, or speaks no HTTP", param="url") from None
        except httpx2.HTTPError:
            raise ImageUpstreamError("the picture's server cannot be reached", param="url") from None

    async def _body(self, response: Any) -> bytearray:
        if response.status_code >= _SERVER_ERROR:
            raise ImageUpstreamError(f"the picture's server answers {response.status_code}", param="url")
        if response.status_code != _OK:
            raise ImageFetchFailed(f"the picture's server answers {response.status_code}", param="url")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ImageFetchFailed("the picture's server compresses what it sends", param="url")
        data = bytearray()
        async for piece in response.aiter_raw():
            data += piece
            if len(data) > self._rules.max_bytes:
                raise ImageFetchTooLarge(f"the limit is {self._rules.max_bytes} bytes", param="url")
        try:
            sniff_format(data, allow_tiff=self._rules.allows_tiff)
        except UnsupportedImageFormat:
            raise ImageFetchFailed("what the server sends is no picture", param="url") from None
        return data


def _location(response: Any) -> str:
    location = str(response.headers.get("location", ""))
    if not location:
        raise ImageFetchFailed("the picture's server sends on, but not where to", param="url")
    return location
