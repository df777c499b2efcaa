"""The Hugging Face hub: what a repository holds, and the bytes of its files. Imported in download processes only."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.request import getproxies

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url, set_client_factory
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
    http_stream_backoff,
)
from huggingface_hub.utils._http import default_client_factory

from ...http_client import watch

_LISTING_SECONDS = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NOT_LET_IN = "the hub refuses the token, or wants one: set HF_TOKEN"
_REFUSALS = {401: _NOT_LET_IN, 403: _NOT_LET_IN, 404: "the hub has no such revision or file"}
_CHUNK_BYTES = 256 * 1024  # what one write holds is lost with the process
_BROKEN_OFF = (httpx2.ConnectError, httpx2.ReadError, httpx2.TimeoutException, httpx2.RemoteProtocolError)
_TRIES, _PAUSE_SECONDS = 5, 1.0  # without any progress
_HEAD_SECONDS = 60.0

set_client_factory(lambda: watch(default_client_factory(), head_seconds=_HEAD_SECONDS))


class HubFailed(Exception):
    """The hub did not give what was asked for; the text is for people, in our words."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, as the hub describes it."""

    name: str
    size: int
    """Bytes."""
    sha256: str | None
    """Of a large file."""
    git_sha1: str | None
    """Of a small file: that of git's blob."""


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit."""

    commit: str
    files: tuple[HubFile, ...]


def list_files(repo: str, revision: str) -> Listing:
    """What a repository holds.

    Raises:
        HubFailed: the hub cannot be reached, refuses, or says what cannot be understood; a variable is wrong.
    """
    _check_proxies()
    _check_certificates()
    with _in_our_words():
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=_LISTING_SECONDS)
    if not info.sha or not _COMMIT.fullmatch(info.sha):
        raise HubFailed("the hub names no commit")
    return Listing(
        info.sha,
        tuple(
            HubFile(
                name=sibling.rfilename,
                size=sibling.lfs.size if sibling.lfs else sibling.size or 0,
                sha256=sibling.lfs.sha256 if sibling.lfs else None,
                git_sha1=None if sibling.lfs else sibling.blob_id,
            )
            for sibling in info.siblings or ()
        ),
    )


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
            except _BROKEN_OFF:
                failures = failures + 1 if opened.tell() == before else 1
                if failures == _TRIES:
                    raise
                time.sleep(_PAUSE_SECONDS)


def _append(url: str, opened: BinaryIO, size: int) -> None:
    wanted = {"Range": f"bytes={opened.tell()}-"} if opened.tell() else {}
    headers = {**build_hf_headers(library_name="llm-vision"), "Accept-Encoding": "identity", **wanted}
    asking = http_stream_backoff(
        "GET",
        url,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),
        retry_on_status_codes=(408, 429),
    )
    with asking as response:
        hf_raise_for_status(response)
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            _empty(opened)  # the whole file comes, whatever was asked for
        for chunk in response.iter_bytes(_CHUNK_BYTES):
            opened.write(chunk)
            if opened.tell() > size:
                _empty(opened)
                raise HubFailed("the hub sends more than it announced")
    if opened.tell() < size:
        raise HubFailed("the hub broke off in the middle of a file")


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
        raise HubFailed("HF_HUB_OFFLINE forbids it") from error
    except GatedRepoError as error:
        raise HubFailed("the hub asks for an account that has accepted the licence: set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise HubFailed("the hub knows no such repository, or wants a token for it: set HF_TOKEN") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise HubFailed(_REFUSALS.get(status, f"the hub answers {status}")) from error
    except httpx2.HTTPError as error:
        raise HubFailed("the hub cannot be reached") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise HubFailed("the hub broke off in the middle of a file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise HubFailed("what the hub answers cannot be understood") from error
