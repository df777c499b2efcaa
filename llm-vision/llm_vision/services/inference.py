"""The one door to the models: is this task this model's? A permit, a lease, a run, all within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

from PIL import Image

from ..errors import DeadlineExceeded, ShuttingDown, UnsupportedTask
from ..metrics import Metrics
from ..models.base import JsonObject, ModelSpec, Task
from ..runtime.batching import RawImage, WorkRequest, WorkResult
from ..runtime.pool import ModelPool
from ..runtime.slots import Admission

Wanted = tuple[str, Task]


def raw_image(picture: Image.Image) -> RawImage:
    """An RGB picture's pixels, as a worker takes them."""
    return RawImage(picture.width, picture.height, picture.tobytes())


@dataclass(frozen=True)
class Permit:
    """A request that was admitted to its models, with a deadline over all that it does."""

    pool: ModelPool
    metrics: Metrics
    admissions: dict[str, Admission]

    async def run(
        self,
        model_id: str,
        images: Sequence[Image.Image],
        params: JsonObject,
        on_token: Callable[[str], None] | None = None,
    ) -> WorkResult:
        """Run a model that the permit is for.

        Args:
            model_id: one of the models that were admitted.
            images: RGB pictures.
            params: the task's options.
            on_token: called with each piece of generated text.

        Raises:
            VisionError: the model could not be loaded or did not answer.
        """
        raw = await asyncio.to_thread(lambda: tuple(raw_image(image) for image in images))
        async with self.pool.lease(model_id) as worker:
            arrived = self.admissions[model_id].arrived
            result = await worker.infer(WorkRequest(params, raw), on_token=on_token, on_queued=arrived)
        self.metrics.stage_ended("queue", model_id, result.queue_seconds)
        self.metrics.stage_ended("run", model_id, result.run_seconds)
        return result


class Inference:
    """Admits requests to models and ends them at their deadline.

    Args:
        pool: the models.
        metrics: where queue and run times are observed.
    """

    def __init__(self, pool: ModelPool, metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._deadlines: set[asyncio.Timeout] = set()
        self._drain_at: float | None = None

    def spec(self, model_id: str, task: Task) -> ModelSpec:
        """What is known of a model that has the task.

        Raises:
            ModelNotFound: there is no such model.
            UnsupportedTask: it cannot do this.
        """
        spec = self._pool.spec(model_id)
        if task not in spec.tasks:
            can = ", ".join(sorted(spec.tasks))
            raise UnsupportedTask(f"{model_id} cannot do this ({task.value}); it can do: {can}", param="model")
        return spec

    @asynccontextmanager
    async def admit(self, wanted: Sequence[Wanted], seconds: float) -> AsyncIterator[Permit]:
        """Admit a request to models, before its picture is decoded, and end it after `seconds`.

        Raises:
            ModelNotFound, UnsupportedTask, QueueFull: the request is refused.
            DeadlineExceeded: it took too long.
            ShuttingDown: the service's time to finish is over.
        """
        for model_id, task in wanted:
            self.spec(model_id, task)
        with ExitStack() as stack:
            admissions = {model_id: stack.enter_context(self._pool.admit(model_id)) for model_id, _ in wanted}
            async with self._deadline(seconds):
                yield Permit(self._pool, self._metrics, admissions)

    @asynccontextmanager
    async def _deadline(self, seconds: float) -> AsyncIterator[None]:
        ends_at = asyncio.get_running_loop().time() + seconds
        deadline = asyncio.timeout_at(min(ends_at, self._drain_at) if self._drain_at else ends_at)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                yield
        except TimeoutError:
            if not deadline.expired():
                raise
            if self._drain_at is not None:
                raise ShuttingDown("the service is shutting down") from None
            raise DeadlineExceeded(f"the request took longer than {seconds:g} s") from None
        finally:
            self._deadlines.discard(deadline)

    def drain(self, seconds: float) -> None:
        """End every running request within `seconds`, and every later one by then."""
        self._drain_at = asyncio.get_running_loop().time() + seconds
        for deadline in self._deadlines:
            when = deadline.when()
            if when is None or when > self._drain_at:
                deadline.reschedule(self._drain_at)
