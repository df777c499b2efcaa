"""Fetches pictures by URL, where an operator allows it: pinned to checked addresses, limited in size and time."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urljoin

from ...admission.deadlines import Deadlines
from ...admission.places import RETRY_AFTER_SECONDS, Places, admit_everywhere
from ...admission.threads import DetachedThreads
from ...admission.turns import FairPlaces
from ...errors import (
    ImageFetchFailed,
    ImageFetchTimeout,
    ImageFetchTooLarge,
    ImageUpstreamError,
    QueueFull,
    TooManyRedirects,
    UnsupportedImageFormat,
    UrlImagesDisabled,
    UrlNotAllowed,
)
from ...http_client import watch
from ...images.decode import sniff_format
from .urls import NOT_ALLOWED, Address, PictureUrl, UrlRules, check_addresses, parse_url

Resolve = Callable[[str, int], Awaitable[list[Address]]]
AT_ONCE = 4
"""Pictures that are fetched together; each may take `max_bytes` of memory."""
MOST_WAITING = 28
"""Pictures that wait for that."""
MOST_LOOKUPS = 4 * AT_ONCE
"""Names that are looked up together: what a fetch has given up on may hang for longer than the fetch."""
CONNECT_SECONDS = 3.0
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
    connect_seconds: float = CONNECT_SECONDS
    queue_seconds: float = 30.0


class Lookups:
    """Looks up names; the system's lookup cannot be cancelled."""

    def __init__(self) -> None:
        self._threads = DetachedThreads(MOST_LOOKUPS, "lookup")

    async def __call__(self, host: str, port: int) -> list[Address]:
        """All addresses of a name.

        Raises:
            OSError: the name is not known.
        """
        with contextlib.suppress(ValueError):
            return [ipaddress.ip_address(host)]  # some systems do not look up every address
        return await self._threads.run(partial(_look_up, host, port))


def _look_up(host: str, port: int) -> list[Address]:
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in places]


class UrlPictures:
    """Pictures of other servers.

    Args:
        rules: which, how large and how long.
        deadlines: where the time of fetches counts.
        resolve: how names become addresses.
    """

    def __init__(self, rules: FetchRules, deadlines: Deadlines, resolve: Resolve | None = None) -> None:
        self._rules = rules
        self._deadlines = deadlines
        self._resolve = resolve or Lookups()
        self._admitted = Places(AT_ONCE + MOST_WAITING)
        self._places = FairPlaces(AT_ONCE)
        self._certificates: ssl.SSLContext | None = None

    async def fetch(self, text: str, client: str) -> bytearray:
        """The bytes behind a URL.

        Args:
            text: the URL.
            client: who asks; clients take turns.

        Raises:
            UrlImagesDisabled, UrlSchemeNotAllowed, InvalidUrl, UrlNotAllowed, TooManyRedirects: it may not be fetched.
            QueueFull: too many wait for theirs.
            ImageFetchFailed, ImageFetchTooLarge, ImageUpstreamError, ImageFetchTimeout: there was no picture to get.
            ShuttingDown: the service's time to finish is over.
        """
        if not self._rules.urls.hosts:
            raise UrlImagesDisabled(
                "pictures by URL are off; VISION_URL_HOSTS lists hosts that may be asked", param="url"
            )
        url = parse_url(text, self._rules.urls)
        async with self._take_place(client), self._deadlines.within(self._rules.seconds, self._fetch_timed_out):
            return await self._follow(url)

    def _fetch_timed_out(self) -> ImageFetchTimeout:
        return ImageFetchTimeout(f"the picture's server took longer than {self._rules.seconds:g} s", param="url")

    @asynccontextmanager
    async def _take_place(self, client: str) -> AsyncIterator[None]:
        """Wait for a turn; whoever has most that wait gives one up for a client that has fewer."""

        def displace() -> None:
            if not patience.expired():  # else it is on its way out already
                patience.reschedule(0)

        with admit_everywhere([self._admitted], client) as (admission,):
            async with AsyncExitStack() as held:
                async with self._deadlines.within(self._rules.queue_seconds, _queue_full) as patience:
                    admission.on_displaced = displace
                    await held.enter_async_context(self._places.place(client))
                    admission.mark_running()
                yield

    async def _follow(self, url: PictureUrl) -> bytearray:
        for _ in range(self._rules.redirects + 1):
            picture_or_place = await self._get(url)
            if isinstance(picture_or_place, bytearray):
                return picture_or_place
            following = parse_url(urljoin(url.text, picture_or_place), self._rules.urls)
            if url.scheme == "https" and following.scheme != "https":
                raise UrlNotAllowed(NOT_ALLOWED, param="url")
            url = following
        raise TooManyRedirects(f"the image server redirected more than {self._rules.redirects} times", param="url")

    async def _get(self, url: PictureUrl) -> bytearray | str:
        """The picture, or where else it is."""
        try:
            addresses = await self._resolve(url.host, url.port)
        except OSError:
            raise ImageUpstreamError("the image's host name does not resolve", param="url") from None
        address = check_addresses(url, addresses, self._rules.urls)
        if self._certificates is None:
            self._certificates = await asyncio.to_thread(_read_certificates)
        return await self._ask(url, address, self._certificates)

    async def _ask(self, url: PictureUrl, address: Address, certificates: ssl.SSLContext) -> bytearray | str:
        """Through a client of its own: a kept connection would not have been checked for this name."""
        import httpx2  # noqa: PLC0415  (only who fetches pays for it)

        extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        headers = {**_HEADERS, "Host": url.authority}
        timeout = httpx2.Timeout(self._rules.seconds, connect=self._rules.connect_seconds)
        try:
            async with (
                watch(
                    httpx2.AsyncClient(verify=certificates, trust_env=False, follow_redirects=False, timeout=timeout)
                ) as client,
                client.stream("GET", url.at(address), headers=headers, extensions=extensions) as response,
            ):
                if response.status_code in _REDIRECTS:
                    return _read_location(response)
                return await self._read_body(response)
        except httpx2.RemoteProtocolError:
            raise ImageFetchFailed(
                "the image server closed the connection, or does not speak HTTP", param="url"
            ) from None
        except httpx2.HTTPError:
            raise ImageUpstreamError("the image server cannot be reached", param="url") from None

    async def _read_body(self, response: Any) -> bytearray:
        if response.status_code >= _SERVER_ERROR:
            raise ImageUpstreamError(f"the image server returned status {response.status_code}", param="url")
        if response.status_code != _OK:
            raise ImageFetchFailed(f"the image server returned status {response.status_code}", param="url")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ImageFetchFailed("the image server sent a compressed response", param="url")
        data = bytearray()
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > self._rules.max_bytes:
                raise ImageFetchTooLarge(f"the limit is {self._rules.max_bytes} bytes", param="url")
        try:
            sniff_format(data, allow_tiff=self._rules.allows_tiff)
        except UnsupportedImageFormat:
            raise ImageFetchFailed("the server did not send an image", param="url") from None
        return data


def _read_certificates() -> ssl.SSLContext:
    """Those that the system trusts; this takes tens of milliseconds, and the first import some more."""
    import httpx2  # noqa: PLC0415

    return httpx2.create_ssl_context(trust_env=False)


def _queue_full() -> QueueFull:
    return QueueFull("too many images are waiting to be fetched", retry_after=RETRY_AFTER_SECONDS)


def _read_location(response: Any) -> str:
    location = str(response.headers.get("location", ""))
    if not location:
        raise ImageFetchFailed("the image server sent a redirect without a target", param="url")
    return location
