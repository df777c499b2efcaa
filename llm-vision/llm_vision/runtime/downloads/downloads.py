"""Downloads of weights onto the volumes: one at a time for each repository, in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from dataclasses import dataclass
from functools import partial

from ...errors import ModelInUse, ModelLoadFailed, ShuttingDown, VisionError, WeightsNotDownloaded
from ...models.base import ModelSpec, Weights
from ..processes.process import EXIT_SECONDS, ChildProcess, Command, hub_variables
from ..processes.wire import Header
from ..weights.failures import RETRY_LOAD, LoadFailures
from ..weights.place import DownloadPlace
from ..weights.store import WeightStore
from .rules import DownloadRules

log = logging.getLogger(__name__)

_CHILD = "llm_vision.runtime.downloads.child"
_QUIET = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
_NETWORK_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"})
_LOGGED_SHARE = 0.1


@dataclass(frozen=True)
class DownloadStatus:
    """How far a download is."""

    state: str
    """starting, waiting (for another service on the volume), downloading, converting, done or failed."""
    bytes_done: int = 0
    bytes_total: int | None = None
    """None until the hub has told."""
    error: VisionError | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.state in ("done", "failed")


DONE = DownloadStatus("done")


class _Download:
    """What is known of one repository's download, and who does it."""

    def __init__(self) -> None:
        self.status: DownloadStatus | None = None
        self.changed = asyncio.Event()
        self.failures = LoadFailures()
        self.task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self.task is not None and not self.task.done()

    def tell(self, status: DownloadStatus) -> None:
        if status != self.status:
            self.status = status
            self.changed.set()
            self.changed = asyncio.Event()


class Downloads:
    """The downloads of all models.

    Args:
        store: the volumes.
        rules: what is allowed.
        clock: seconds that only go forward.
    """

    def __init__(self, store: WeightStore, rules: DownloadRules, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock
        self._downloads: dict[Weights, _Download] = {}
        self._is_closed = False

    async def status(self, spec: ModelSpec) -> DownloadStatus | None:
        """How far a model's download is; None when there was none since the start, or others have brought the files."""
        download = self._downloads.get(spec.weights) if spec.weights else None
        if not spec.weights or not download or not download.status:
            return None
        status = download.status
        is_overtaken = status.state == "failed" and await self._are_there(spec.weights)
        return None if is_overtaken else status

    def is_running(self, spec: ModelSpec) -> bool:
        """Whether a model's weights are on their way."""
        download = self._downloads.get(spec.weights) if spec.weights else None
        return download is not None and download.is_running

    async def begin(self, spec: ModelSpec, *, retry_failed: bool = False) -> None:
        """Begin the download of a model's weights in the background, unless it runs or they are there.

        Args:
            spec: the model.
            retry_failed: even when a try has just failed.

        Raises:
            ModelLoadFailed, StorageFull: it is forbidden, or has just failed.
            ModelTooLarge: the model does not fit this machine.
            ShuttingDown: nothing is begun any more.
        """
        weights = spec.weights
        if weights is None or await self._are_there(weights) or self.is_running(spec):
            return
        self._refuse_when_closed()
        await self._store.look(partial(self._rules.check, self._store, spec))
        self._refuse_when_closed()  # closed while the volume was looked at
        download = self._downloads.setdefault(weights, _Download())
        if download.is_running:  # begun while the volume was looked at
            return
        if not retry_failed:
            download.failures.check(self._clock(), self._rules.pause_seconds)
        download.tell(DownloadStatus("starting"))
        download.task = asyncio.create_task(self._run(spec, weights, download), context=Context())

    def misfit(self, spec: ModelSpec) -> str | None:
        """Why a model whose weights are missing could not run here; it reads the volume (`WeightStore.look`)."""
        return self._rules.misfit(self._store, spec)

    async def follow(self, spec: ModelSpec) -> AsyncIterator[DownloadStatus]:
        """How far a download is, whenever that changes, until it is over."""
        download = self._downloads.get(spec.weights) if spec.weights else None
        while download and (status := await self.status(spec)):
            changed = download.changed
            yield status
            if status.is_over:
                return
            await changed.wait()
        yield DONE

    async def delete(self, spec: ModelSpec) -> None:
        """Remove what was downloaded of a model, whole or not; a running download is stopped.

        Raises:
            WeightsNotDownloaded: its files are not of this service.
            ModelInUse: another service downloads to the same volume.
        """
        await self.require_ours(spec)
        assert spec.weights is not None  # noqa: S101
        download = self._downloads.pop(spec.weights, None)
        if download and download.task:
            download.task.cancel()
            await asyncio.gather(download.task, return_exceptions=True)
        await asyncio.to_thread(_remove, self._place(spec.weights))
        log.info("removed downloaded weights", extra={"model": spec.model_id})

    async def require_ours(self, spec: ModelSpec) -> None:
        """Refuse to touch what this service has not downloaded.

        Raises:
            WeightsNotDownloaded: a model's files come from elsewhere, or there are none.
        """
        if spec.weights is None or not await self._store.look(partial(self._is_ours, spec.weights)):
            raise WeightsNotDownloaded(f"there is nothing of {spec.model_id} that this service has downloaded")

    def _is_ours(self, weights: Weights) -> bool:
        place = self._place(weights)
        return place.manifest is not None or place.work.exists()

    async def _are_there(self, weights: Weights) -> bool:
        """Whether weights are on their volume; a slow one keeps nobody else waiting."""
        return await self._store.look(partial(self._store.folder, weights)) is not None

    def drain(self) -> None:
        """Stop all downloads; what has come stays on the volumes, and the next start goes on with it."""
        self._is_closed = True
        for download in self._downloads.values():
            if download.task:
                download.task.cancel()

    async def close(self) -> None:
        """Stop all downloads, and wait until their processes have ended."""
        self.drain()
        tasks = [download.task for download in self._downloads.values() if download.task]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise ShuttingDown("the service is shutting down")

    def _place(self, weights: Weights) -> DownloadPlace:
        return self._store.place(weights)

    async def _run(self, spec: ModelSpec, weights: Weights, download: _Download) -> None:
        started = self._clock()
        log.info("downloading weights", extra={"model": spec.model_id})
        try:
            error = await self._fetch(spec, weights, download)
        except asyncio.CancelledError:
            log.info("a download was stopped", extra={"model": spec.model_id})
            download.tell(DownloadStatus("failed", error=ModelLoadFailed("the download was stopped")))
            raise
        status = download.status or DONE
        if error:
            log.warning(error.detail, extra={"model": spec.model_id, "code": error.code})
            download.failures.remember(error, self._clock())
            download.tell(DownloadStatus("failed", status.bytes_done, status.bytes_total, error))
            return
        seconds = round(self._clock() - started, 1)
        log.info("downloaded weights", extra={"model": spec.model_id, "bytes": status.bytes_total, "seconds": seconds})
        download.failures.forget()
        download.tell(DownloadStatus("done", status.bytes_total or 0, status.bytes_total))

    async def _fetch(self, spec: ModelSpec, weights: Weights, download: _Download) -> VisionError | None:
        """Run the process that downloads; what went wrong."""
        failed = f"the weights of {spec.model_id} cannot be downloaded"
        where = await self._store.look(partial(self._store.whereabouts, spec))
        try:
            child = await ChildProcess.spawn(self._command(spec, weights))
        except OSError:
            return ModelLoadFailed(f"{failed}: the operating system could not start a process", retry_after=RETRY_LOAD)
        logged = 0.0
        try:
            async for message in child.messages():
                if message["type"] == "progress":
                    download.tell(_status_of(message))
                    logged = _log_step(spec, message, logged)
                elif message["type"] == "done":
                    return None
                else:
                    error = VisionError.with_code(message["code"], f"{failed}: {message['reason']}; {where}")
                    error.retry_after = RETRY_LOAD
                    return error
            return ModelLoadFailed(f"{failed}: the process that did it has ended", retry_after=RETRY_LOAD)
        finally:
            await child.close(EXIT_SECONDS)

    def _command(self, spec: ModelSpec, weights: Weights) -> Command:
        order = {
            "root": str(self._place(weights).root.absolute()),
            "repo": weights.repo,
            "revision": weights.revision or "main",
            "may_be_pickled": weights.may_be_pickled,
        }
        network = {name: value for name, value in os.environ.items() if name.lower() in _NETWORK_VARIABLES}
        return Command(f"download of {spec.model_id}", _CHILD, order, {**hub_variables(), **network, **_QUIET})


def _status_of(message: Header) -> DownloadStatus:
    return DownloadStatus(message["state"], message["done"], message["total"])


def _log_step(spec: ModelSpec, message: Header, logged: float) -> float:
    """Log each tenth of a download; the share that was logged last."""
    share = message["done"] / message["total"] if message["total"] else 0.0
    if share < logged + _LOGGED_SHARE:
        return logged
    log.info("%d %% downloaded", share * 100, extra={"model": spec.model_id})
    return share


def _remove(place: DownloadPlace) -> None:
    try:
        with place.claimed():
            place.remove()
    except BlockingIOError:
        raise ModelInUse("another service on the same volume is downloading this model") from None
    except OSError:
        raise WeightsNotDownloaded("the volume cannot be written") from None
