"""What is wrong here, or with another server: 5xx."""

from __future__ import annotations

from .base import VisionError


class InternalError(VisionError):
    status = 500
    code, when = "internal_error", "An unexpected error in the service; the log has the cause under the request id."

    @classmethod
    def unexpected(cls) -> InternalError:
        """What nobody has thought of."""
        return cls("internal error; see the log")


class InferenceFailed(VisionError):
    status = 500
    code, when = "inference_failed", "The model failed on this request; the log has the cause."


class UpstreamRejected(VisionError):
    status = 502
    code, when = (
        "upstream_rejected",
        "The model's server rejected the key, the model name or the request; `detail` says which.",
    )


class UpstreamInvalid(VisionError):
    status = 502
    code, when = "upstream_invalid", "The model's server sent an answer that is malformed, endless or impossible."


class Unavailable(VisionError):
    status = 503
    retryable = True


class ModelLoading(Unavailable):
    code, when = "model_loading", "The model is still loading, or its weights are still downloading."


class ModelNotReady(Unavailable):
    retryable = False
    code, when = (
        "model_not_ready",
        "The model's weights are not here, and this request may not bring them; the text says what would.",
    )


class ModelLoadFailed(Unavailable):
    code, when = "model_load_failed", "The model could not be loaded; the next attempt is after `Retry-After`."


class InsufficientMemory(Unavailable):
    code, when = "insufficient_memory", "There is not enough memory for the model or the request."


class WorkerCrashed(Unavailable):
    code, when = "worker_crashed", "The model's process died during the request; it restarts by itself."


class UpstreamUnavailable(Unavailable):
    code, when = "upstream_unavailable", "The model's server cannot be reached, fails, or is silent for too long."


class MachineBusy(Unavailable):
    code, when = "machine_busy", "The deadline passed before a model took the request: the machine is overloaded."


class ShuttingDown(Unavailable):
    code, when = "shutting_down", "The service is shutting down."


class DeadlineExceeded(VisionError):
    status = 504
    code, when = "deadline_exceeded", "The request exceeded its deadline."


class HttpVersionNotSupported(VisionError):
    status = 505
    code, when = "http_version_not_supported", "Neither HTTP/1.1 nor HTTP/1.0; the connection is closed."


class ModelTooLarge(VisionError):
    status = 507
    code, when = (
        "model_too_large",
        "The model does not fit into this machine's memory; nothing is downloaded.",
    )


class StorageFull(VisionError):
    status = 507
    code, when = (
        "storage_full",
        "There is no space for the upload in the temporary folder, or for weights on their volume.",
    )
