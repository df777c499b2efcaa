"""The Hugging Face hub: what a repository holds, and the bytes of its files. Imported in download processes only."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote
from urllib.request import getproxies

import httpx2
from huggingface_hub import constants, get_session, hf_hub_url, set_client_factory
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from ...http_client import watch
from .listing import HubFile, Listing, read_listing

_LISTING_SECONDS = 10.0
_LISTING_BYTES = 4 * 1024 * 1024
"""Of a listing; one of 10,000 files has 3 MB."""
_NOT_LET_IN = "the hub refuses the token, or wants one: set HF_TOKEN"
_REFUSALS = {401: _NOT_LET_IN, 403: _NOT_LET_IN, 404: "the hub has no such revision or file"}
_CHUNK_BYTES = 256 * 1024  # what one write holds is lost with the process
_BROKEN_OFF = (httpx2.ConnectError, httpx2.ReadError, httpx2.TimeoutException, httpx2.RemoteProtocolError)
_BUSY = (408, 429)
_TRIES = 5  # without any progress
_PAUSE_SECONDS, _BUSY_SECONDS = 1.0, 8.0  # times the tries so far; what a busy hub asks for may be years
_HEAD_SECONDS = 60.0


class HubFailed(Exception):
    """The hub did not give what was asked for; the text is for people, in our words."""


class _Unread(httpx2.SyncByteStream):
    """A body that nobody reads: one of an error or a redirect may have no end.

    Args:
        body: what is closed in its place.
    """

    def __init__(self, body: httpx2.SyncByteStream) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        self._body.close()


def _refuse_offline(_: httpx2.Request) -> None:
    if constants.is_offline_mode():
        raise OfflineModeIsEnabled


def _check(response: httpx2.Response) -> None:
    """Refuse what would be larger in memory than on its way, or leads into the open; read no body but of a success."""
    is_encoded = response.headers.pop("content-encoding", "identity") != "identity"
    if response.is_success:
        if is_encoded:
            raise HubFailed("the hub compresses what must come as it is")
        return
    target = response.headers.get("location", "")
    if response.has_redirect_location and response.url.scheme == "https" and target.lower().startswith("http:"):
        raise HubFailed("the hub leads from https to http")
    assert isinstance(response.stream, httpx2.SyncByteStream)  # noqa: S101
    response.stream = _Unread(response.stream)


def _client() -> httpx2.Client:
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [_refuse_offline], "response": [_check]}
    client = httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
    return watch(client, head_seconds=_HEAD_SECONDS)


set_client_factory(_client)


def list_files(repo: str, revision: str) -> Listing:
    """What a repository holds.

    Raises:
        HubFailed: the hub cannot be reached, refuses, or says what cannot be understood; a variable is wrong.
        UnusableWeights: it lists what cannot be.
    """
    _check_proxies()
    _check_certificates()
    url = f"{constants.ENDPOINT}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    ends_at = time.monotonic() + 6 * _LISTING_SECONDS
    body = bytearray()
    with _in_our_words(), _asked(url, _LISTING_SECONDS) as response:
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > _LISTING_BYTES or time.monotonic() > ends_at:
                raise HubFailed("the hub lists files without end")
    return read_listing(body)


@contextmanager
def _asked(url: str, seconds: float, first_byte: int = 0) -> Iterator[httpx2.Response]:
    """An answer that is a success, its body not read yet."""
    wanted = {"Range": f"bytes={first_byte}-"} if first_byte else {}
    headers = {**build_hf_headers(library_name="llm-vision"), "Accept-Encoding": "identity", **wanted}
    with get_session().stream("GET", url, headers=headers, timeout=seconds) as response:
        hf_raise_for_status(response)
        if not response.is_success:  # a redirect to nowhere
            raise HubFailed(f"the hub answers {response.status_code}")
        yield response


def fetch(repo: str, commit: str, file: HubFile, partial: Path) -> None:
    """Append to a file what it still lacks; a connection that breaks off is opened again a few times.

    Raises:
        HubFailed: the hub cannot be reached, refuses, breaks off, or sends more than it announced.
        OSError: the file cannot be written.
    """
    url = hf_hub_url(repo, file.name, revision=commit)
    with partial.open("ab") as opened, _in_our_words():
        failures = 0
        while opened.tell() != file.size:
            before = opened.tell()
            try:
                _append(url, opened, file.size)
            except _BROKEN_OFF as error:
                failure: Exception = error
                pause = _PAUSE_SECONDS
            except HfHubHTTPError as error:
                if error.response.status_code not in _BUSY:
                    raise
                failure, pause = error, _BUSY_SECONDS
            else:
                continue
            failures = failures + 1 if opened.tell() == before else 1
            if failures == _TRIES:
                raise failure
            time.sleep(pause * failures)


def _append(url: str, opened: BinaryIO, size: int) -> None:
    with _asked(url, constants.HF_HUB_DOWNLOAD_TIMEOUT, opened.tell()) as response:
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            _empty(opened)  # the whole file comes, whatever was asked for
        for chunk in response.iter_raw(_CHUNK_BYTES):
            if opened.tell() + len(chunk) > size:
                _empty(opened)
                raise HubFailed("the hub sends more than it announced")
            opened.write(chunk)
    if opened.tell() < size:
        raise HubFailed("the hub closed the connection in the middle of a file")


def _empty(opened: BinaryIO) -> None:
    opened.seek(0)
    opened.truncate()


def _check_proxies() -> None:
    proxies = getproxies()
    used = [proxies[name].lower() for name in ("http", "https", "all") if name in proxies and proxies.get("no") != "*"]
    if any("://" in url and not url.startswith(("http://", "https://")) for url in used):
        raise HubFailed(
            "only HTTP proxies can be used, and one of another kind is set: "
            "set HTTPS_PROXY to an HTTP proxy, and unset ALL_PROXY"
        )


def _check_certificates() -> None:
    """Before the library looks for them: its failure looks like one of the volume."""
    try:
        ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or None)
    except OSError as error:
        raise HubFailed(
            "SSL_CERT_FILE names no certificates that can be read here: name a file that has some, in a container one "
            "that is mounted, or unset it"
        ) from error


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise HubFailed("HF_HUB_OFFLINE is set") from error
    except GatedRepoError as error:
        raise HubFailed("the hub requires an account that has accepted the license: set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise HubFailed("the hub has no such repository, or requires a token: set HF_TOKEN") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise HubFailed(_REFUSALS.get(status, f"the hub answers {status}")) from error
    except httpx2.HTTPError as error:
        raise HubFailed("the hub cannot be reached") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise HubFailed("the hub closed the connection in the middle of a file") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HubFailed("the hub returned an invalid response") from error
