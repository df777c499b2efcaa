"""What is counted and measured, in Prometheus's terms; one registry per app."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms of one service. Labels take few values: routes, models, codes, stages."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "llm_vision_requests",
            "Answered requests",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "llm_vision_request_seconds",
            "Time from the request's head to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._errors = Counter("llm_vision_errors", "Answers with an error code", ["code"], registry=self._registry)
        self._stage_seconds = Histogram(
            "llm_vision_stage_seconds",
            "Time of a request in a stage: decode, queue or run",
            ["stage", "model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batch_size = Histogram(
            "llm_vision_batch_size",
            "Requests that ran together",
            ["model"],
            buckets=_BATCH_SIZES,
            registry=self._registry,
        )
        self._batch_seconds = Histogram(
            "llm_vision_batch_seconds",
            "Time of a batch in its model",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._restarts = Counter(
            "llm_vision_worker_restarts",
            "Worker processes that ended by themselves",
            ["model"],
            registry=self._registry,
        )
        self._decoders_lost = Counter(
            "llm_vision_decoders_lost", "Decoder processes that crashed or hung", registry=self._registry
        )
        self._loads = Counter(
            "llm_vision_model_loads", "Models that were loaded", ["model", "outcome"], registry=self._registry
        )
        self._loaded = Gauge("llm_vision_model_loaded", "1 while in memory", ["model"], registry=self._registry)
        self._memory = Gauge(
            "llm_vision_resident_memory_bytes",
            "Resident memory of the gateway and of each model's process",
            ["process"],
            registry=self._registry,
        )

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An answer is complete. `route` is the template, not the URL."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def error_answered(self, code: str) -> None:
        """An answer carried an error code."""
        self._errors.labels(code).inc()

    def stage_ended(self, stage: str, model_id: str, seconds: float) -> None:
        """A request left a stage; the model is empty where the stage has none."""
        self._stage_seconds.labels(stage, model_id).observe(seconds)

    def batch_ran(self, model_id: str, size: int, seconds: float) -> None:
        """A model ran a batch."""
        self._batch_size.labels(model_id).observe(size)
        self._batch_seconds.labels(model_id).observe(seconds)

    def worker_restarted(self, model_id: str) -> None:
        """A worker process ended by itself."""
        self._restarts.labels(model_id).inc()

    def decoder_lost(self) -> None:
        """A decoder process crashed or hung."""
        self._decoders_lost.inc()

    def model_load_ended(self, model_id: str, *, succeeded: bool) -> None:
        """A load came to its end."""
        self._loads.labels(model_id, "ok" if succeeded else "failed").inc()

    def set_memory(self, gateway_bytes: int, models: Iterable[tuple[str, bool, int]]) -> None:
        """The state at the time of a scrape: (model id, is it loaded, resident bytes) for every model."""
        self._memory.labels("gateway").set(gateway_bytes)
        for model_id, is_loaded, memory_bytes in models:
            self._loaded.labels(model_id).set(is_loaded)
            self._memory.labels(model_id).set(memory_bytes)

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry)
