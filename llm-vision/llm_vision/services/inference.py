"""The one door to the models: is this task this model's? A permit, a lease, a run, all within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from .. import logs
from ..admission.deadlines import Deadlines
from ..admission.owners import CacheOwners
from ..admission.places import RETRY_AFTER_SECONDS, RETRY_WHEN_BUSY_SECONDS, Admission, Places, admit_everywhere
from ..errors import DeadlineExceeded, MachineBusy, ModelLoading, RateLimited, UnsupportedTask, VisionError
from ..images.raw import RawImage
from ..metrics import Metrics
from ..models.base import ModelSpec, Task
from ..models.tasks.chat import Reply, Weighed
from ..models.tasks.request import TaskRequest
from ..runtime.pool.pool import ModelPool
from ..runtime.work import Chunk as Chunk
from ..runtime.work import OnChunk as OnChunk
from ..runtime.work import WorkRequest

Result = TypeVar("Result")
Wanted = tuple[str, Task]
_RETRY_LOADING = 10  # seconds


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What a model answered, with the seconds that it took."""

    value: Result
    queue_seconds: float = 0.0
    run_seconds: float = 0.0
    device_notice: str | None = None
    """Why it did not run where it was meant to run."""


@dataclass(frozen=True)
class Permit:
    """A request that was admitted to its models, with a deadline over all that it does."""

    pool: ModelPool
    metrics: Metrics
    admissions: dict[str, Admission]
    client: str
    owner: str
    """Of what models remember of it; see `CacheOwners`."""
    ends_at: float
    """On the event loop's clock."""

    async def run(
        self,
        model_id: str,
        images: Sequence[RawImage],
        request: TaskRequest[Result],
        on_chunk: OnChunk | None = None,
        *,
        is_last_use: bool = False,
    ) -> Outcome[Result]:
        """Run a model that the permit is for.

        Args:
            model_id: one of the models that were admitted.
            images: RGB pictures.
            request: what it is asked.
            on_chunk: called with each chunk of generated text.
            is_last_use: the pictures may be given away: they are empty afterwards.

        Raises:
            VisionError: the model could not be loaded or did not answer.
        """
        admission = self.admissions[model_id]
        work = WorkRequest(
            request.as_json(), tuple(images), self.client, self.owner, self.ends_at, is_last_use=is_last_use
        )
        async with self.pool.lease(model_id) as worker:
            result = await worker.infer(
                work, on_chunk=on_chunk, on_queued=admission.mark_queued, on_started=admission.mark_running
            )
        self.metrics.observe_stage("queue", model_id, result.queue_seconds)
        self.metrics.observe_stage("run", model_id, result.run_seconds)
        value = request.parse_result(result.value)
        if isinstance(value, Reply | Weighed) and value.usage:
            self.metrics.count_tokens(model_id, value.usage.prompt_tokens, value.usage.completion_tokens)
        return Outcome(value, result.queue_seconds, result.run_seconds, result.device_notice)


class Inference:
    """Admits requests to models and ends them at their deadline.

    Args:
        pool: the models.
        metrics: where queue and run times are observed.
        deadlines: where the requests' time counts.
        without_model: the places for requests that need no model, only the picture.
        owners: whose cached prompts and pictures a request may meet.
    """

    def __init__(
        self, pool: ModelPool, metrics: Metrics, deadlines: Deadlines, without_model: Places, owners: CacheOwners
    ) -> None:
        self._pool = pool
        self._owners = owners
        self._without_model = without_model
        self._metrics = metrics
        self._deadlines = deadlines

    def spec(self, model_id: str, task: Task) -> ModelSpec:
        """What is known of a model that has the task.

        Raises:
            ModelNotFound: there is no such model.
            UnsupportedTask: it cannot do this.
        """
        return self.spec_of_any(model_id, (task,))

    def spec_of_any(self, model_id: str, tasks: Sequence[Task]) -> ModelSpec:
        """What is known of a model that has one of the tasks; see `spec`."""
        spec = self._pool.spec(model_id)
        if not spec.tasks.intersection(tasks):
            can = ", ".join(sorted(spec.tasks))
            raise UnsupportedTask(f"{spec.model_id} cannot do this ({tasks[0].value}); it can do: {can}", param="model")
        return spec

    def _check(self, wanted: Sequence[Wanted]) -> None:
        for model_id, task in wanted:
            self.spec(model_id, task)
        if wanted:
            logs.note_for_answer(model=", ".join(dict.fromkeys(model_id for model_id, _ in wanted)))

    def keep(self, model_id: str, seconds: float) -> None:
        """How long a model stays in memory when it is idle, from now on; -1 for ever."""
        self._pool.keep(model_id, seconds)

    @asynccontextmanager
    async def admit(self, wanted: Sequence[Wanted], client: str, seconds: float) -> AsyncIterator[Permit]:
        """Admit a request to models, before its picture is decoded, and end it after `seconds`.

        Args:
            wanted: models, and what each shall do; none where the picture itself is enough.
            client: who asks; clients share the models' places fairly.
            seconds: from now until the answer.

        Raises:
            ModelNotFound, UnsupportedTask, QueueFull: the request is refused.
            RateLimited: it waited, and its place is needed for a client that has fewer.
            DeadlineExceeded, ModelLoading, MachineBusy: it took too long, to answer, to load a model or to come to one.
            ShuttingDown: the service's time to finish is over.
        """
        self._check(wanted)
        was_displaced = False

        def explain_timeout() -> VisionError:
            if was_displaced:
                return RateLimited(
                    "other clients wait too, and this one has most places", retry_after=RETRY_AFTER_SECONDS
                )
            if any(self._pool.is_loading(model_id) for model_id, _ in wanted):
                return ModelLoading("the model is still being loaded", retry_after=_RETRY_LOADING)
            if all(admission.is_arriving for admission in admissions):
                detail = f"after {seconds:g} s, no model had the request yet: the machine is too busy"
                return MachineBusy(detail, retry_after=RETRY_WHEN_BUSY_SECONDS)
            return DeadlineExceeded(f"the request took longer than {seconds:g} s")

        def displace() -> None:
            nonlocal was_displaced
            if not deadline.expired():  # else it is on its way out already
                was_displaced = True
                deadline.reschedule(0)

        places = [self._pool.places(model_id) for model_id, _ in wanted] or [self._without_model]
        makes_room = any(place.is_full for place in places)
        with admit_everywhere(places, client) as admissions:
            ends_at = asyncio.get_running_loop().time() + seconds
            async with self._deadlines.within(seconds, explain_timeout) as deadline:
                for admission in admissions:
                    admission.on_displaced = displace
                by_model = {model_id: admission for (model_id, _), admission in zip(wanted, admissions, strict=False)}
                if makes_room:
                    await _wait_for_displaced()
                yield Permit(self._pool, self._metrics, by_model, client, self._owners.tag(client), ends_at)


async def _wait_for_displaced() -> None:
    """Let them leave the queues: they are cancelled in one round of the event loop, and leave in the next."""
    for _ in range(2):
        await asyncio.sleep(0)
