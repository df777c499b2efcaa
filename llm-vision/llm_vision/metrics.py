"""What is counted and measured, in Prometheus's terms; one registry per app."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which says only when the process started

_PREFIX = "llm_vision_"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class ModelGauges:
    """A model at the time of a scrape."""

    model_id: str
    is_loaded: bool
    memory_bytes: int
    """Resident memory of its process."""
    running: int
    """Requests that it works on."""
    waiting: int
    """Requests in its queue."""


@dataclass(frozen=True)
class GpuGauges:
    """A GPU at the time of a scrape; other programs' memory counts, too."""

    index: int
    used_bytes: int
    total_bytes: int


class Metrics:
    """Counters and histograms of one service. Labels take few values: routes, models, codes, stages."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Answered requests", "method", "route", "status")
        self._request_seconds = self._histogram(
            "request_seconds", "Time from the request's head to the end of its answer", _SECONDS, "route"
        )
        self._errors = self._counter("errors", "Answers with an error code", "code")
        self._stage_seconds = self._histogram(
            "stage_seconds", "Time of a request in a stage: decode, queue or run", _SECONDS, "stage", "model"
        )
        self._batch_size = self._histogram("batch_size", "Requests that ran together", _BATCH_SIZES, "model")
        self._batch_seconds = self._histogram("batch_seconds", "Time of a batch in its model", _SECONDS, "model")
        self._restarts = self._counter("worker_restarts", "Worker processes that ended by themselves", "model")
        self._moves = self._counter(
            "model_moves",
            "Models that moved to another placement for want of memory or a device",
            "model",
            "device",
            "bits",
        )
        self._decoders_lost = self._counter("decoders_lost", "Decoder processes that crashed or hung")
        self._pushed_out = self._counter(
            "connections_pushed_out", "Idle or slow connections that were ended because there were too many"
        )
        self._log_lines_lost = self._counter("log_lines_lost", "Lines of the log that nobody read in time")
        self._loads = self._counter("model_loads", "Models that were loaded", "model", "outcome")
        self._loaded = self._gauge("model_loaded", "1 while in memory", "model")
        self._memory = self._gauge(
            "resident_memory_bytes", "Resident memory of the gateway and of each model's process", "process"
        )
        self._running = self._gauge("requests_running", "Requests that a model works on", "model")
        self._waiting = self._gauge("requests_waiting", "Requests in a model's queue", "model")
        self._gpu_used = self._gauge("gpu_memory_used_bytes", "Memory in use on a GPU, by any program", "gpu")
        self._gpu_total = self._gauge("gpu_memory_total_bytes", "Memory of a GPU", "gpu")
        self._tokens = self._counter("tokens", "Tokens of prompts and of generated answers", "model", "kind")
        self._degraded = self._counter(
            "degraded_answers", "Answers by another model, or on another device, than was configured", "model"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(_PREFIX + name, text, labels, buckets=buckets, registry=self._registry)

    def count_answer(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a complete answer. `route` is the template, not the URL."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def count_error(self, code: str) -> None:
        """Count an answer with an error code."""
        self._errors.labels(code).inc()

    def observe_stage(self, stage: str, model_id: str, seconds: float) -> None:
        """Record how long a request was in a stage; the model is empty where the stage has none."""
        self._stage_seconds.labels(stage, model_id).observe(seconds)

    def observe_batch(self, model_id: str, size: int, seconds: float) -> None:
        """Record a batch that a model ran."""
        self._batch_size.labels(model_id).observe(size)
        self._batch_seconds.labels(model_id).observe(seconds)

    def count_restart(self, model_id: str) -> None:
        """Count a worker process that ended by itself."""
        self._restarts.labels(model_id).inc()

    def count_move(self, model_id: str, device: str, quantization: str) -> None:
        """Count a model that moved to another placement."""
        self._moves.labels(model_id, device, quantization).inc()

    def count_lost_decoder(self) -> None:
        """Count a decoder process that crashed or hung."""
        self._decoders_lost.inc()

    def count_pushed_out(self) -> None:
        """Count a connection that was ended to make room for another one."""
        self._pushed_out.inc()

    def count_lost_log_line(self) -> None:
        """Count a line of the log that nobody read in time."""
        self._log_lines_lost.inc()

    def count_load(self, model_id: str, *, succeeded: bool) -> None:
        """Count a load that ended."""
        self._loads.labels(model_id, "ok" if succeeded else "failed").inc()

    def count_tokens(self, model_id: str, prompt: int, generated: int) -> None:
        """Count the tokens of an answered request."""
        self._tokens.labels(model_id, "prompt").inc(prompt)
        self._tokens.labels(model_id, "generated").inc(generated)

    def count_degraded(self, model_id: str) -> None:
        """Count an answer that a better model or device would have given."""
        self._degraded.labels(model_id).inc()

    def set_state(self, gateway_bytes: int, models: Iterable[ModelGauges], gpus: Iterable[GpuGauges]) -> None:
        """Set what is measured at the time of a scrape."""
        self._memory.labels("gateway").set(gateway_bytes)
        for model in models:
            self._loaded.labels(model.model_id).set(model.is_loaded)
            self._memory.labels(model.model_id).set(model.memory_bytes)
            self._running.labels(model.model_id).set(model.running)
            self._waiting.labels(model.model_id).set(model.waiting)
        for gpu in gpus:
            self._gpu_used.labels(str(gpu.index)).set(gpu.used_bytes)
            self._gpu_total.labels(str(gpu.index)).set(gpu.total_bytes)

    def write_exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry)
