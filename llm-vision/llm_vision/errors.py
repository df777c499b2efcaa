"""Every deliberate error, with the status and code that clients see.

VisionError
├── BadRequest 400          malformed_json, malformed_multipart, multipart_limits, invalid_host
├── MissingCredentials 401  InvalidCredentials 401   Forbidden 403
├── NotFound 404            ModelNotFound 404        MethodNotAllowed 405
├── ModelInUse 409
├── PayloadTooLarge 413     ImageTooLarge 413        UriTooLong 414
├── Unsupported 415         unsupported_media_type, unsupported_encoding, unsupported_image_format
├── Unprocessable 422       the content of a well-formed request is wrong
├── HeadersTooLarge 431
├── QueueFull 429
├── ClientClosed 499        only in the log: nobody is there to read it
├── InternalError 500       InferenceFailed 500
├── Unavailable 503         model_load_failed, insufficient_memory, worker_crashed, shutting_down
└── DeadlineExceeded 504

`code` is the contract and never changes; texts are for people. A detail is made of our own words
and numbers: never of an exception's text, never of a value that a client sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class VisionError(Exception):
    """An error that a client may see.

    Args:
        detail: what was wrong and what would be right, for people.
        param: the field that is at fault.
        retry_after: seconds after which a repeated request has a chance.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.param = param
        self.retry_after = retry_after

    @classmethod
    def with_code(cls, code: str, detail: str) -> VisionError:
        """The error of that code: how an error crosses from a worker process.

        Raises:
            KeyError: no error has the code.
        """
        return registry()[code](detail)


class BadRequest(VisionError):
    status = 400


class InvalidHost(BadRequest):
    code, title = "invalid_host", "Host not accepted"


class MalformedJson(BadRequest):
    code, title = "malformed_json", "Malformed JSON"


class MalformedMultipart(BadRequest):
    code, title = "malformed_multipart", "Malformed multipart body"


class MultipartLimits(BadRequest):
    code, title = "multipart_limits", "Too many or too large form fields"


class MissingCredentials(VisionError):
    status, code, title = 401, "missing_credentials", "API key required"


class InvalidCredentials(VisionError):
    status, code, title = 401, "invalid_credentials", "API key not accepted"


class Forbidden(VisionError):
    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(VisionError):
    status, code, title = 404, "not_found", "No such route"


class ModelNotFound(VisionError):
    status, code, title = 404, "model_not_found", "No such model"


class MethodNotAllowed(VisionError):
    status, code, title = 405, "method_not_allowed", "Method not allowed"


class ModelInUse(VisionError):
    status, code, title = 409, "model_in_use", "Model in use"


class PayloadTooLarge(VisionError):
    status, code, title = 413, "payload_too_large", "Body too large"


class ImageTooLarge(VisionError):
    status, code, title = 413, "image_too_large", "Image too large"


class UriTooLong(VisionError):
    status, code, title = 414, "uri_too_long", "URL too long"


class Unsupported(VisionError):
    status = 415


class UnsupportedMediaType(Unsupported):
    code, title = "unsupported_media_type", "Content type not supported"


class UnsupportedEncoding(Unsupported):
    code, title = "unsupported_encoding", "Content encoding not supported"


class UnsupportedImageFormat(Unsupported):
    code, title = "unsupported_image_format", "Image format not supported"


class Unprocessable(VisionError):
    status = 422


class InvalidRequest(Unprocessable):
    code, title = "invalid_request", "Invalid request"


class InvalidParameter(Unprocessable):
    code, title = "invalid_parameter", "Invalid parameter"


class UnknownParameter(Unprocessable):
    code, title = "unknown_parameter", "Unknown parameter"


class InvalidText(Unprocessable):
    code, title = "invalid_text", "Invalid text"


class FileRequired(Unprocessable):
    code, title = "file_required", "A file is required"


class TooManyFiles(Unprocessable):
    code, title = "too_many_files", "Too many files"


class InvalidImage(Unprocessable):
    code, title = "invalid_image", "Invalid image"


class ImageBadDimensions(Unprocessable):
    code, title = "image_bad_dimensions", "Image dimensions not supported"


class ImageTooSmall(Unprocessable):
    code, title = "image_too_small", "Image too small"


class PromptTooLong(Unprocessable):
    code, title = "prompt_too_long", "Prompt too long"


class UnsupportedLanguage(Unprocessable):
    code, title = "unsupported_language", "Language not supported"


class UnsupportedTask(Unprocessable):
    code, title = "unsupported_task", "The model cannot do this"


class HeadersTooLarge(VisionError):
    status, code, title = 431, "headers_too_large", "Headers too large"


class QueueFull(VisionError):
    status, code, title = 429, "queue_full", "Queue full"
    retryable = True


class ClientClosed(VisionError):
    status, code, title = 499, "client_closed", "The client left"


class InternalError(VisionError):
    status, code, title = 500, "internal_error", "Internal error"


class InferenceFailed(VisionError):
    status, code, title = 500, "inference_failed", "The model failed"


class Unavailable(VisionError):
    status = 503
    retryable = True


class ModelLoadFailed(Unavailable):
    code, title = "model_load_failed", "The model could not be loaded"


class InsufficientMemory(Unavailable):
    code, title = "insufficient_memory", "Not enough memory"


class WorkerCrashed(Unavailable):
    code, title = "worker_crashed", "The model's process ended"


class ShuttingDown(Unavailable):
    code, title = "shutting_down", "Shutting down"


class DeadlineExceeded(VisionError):
    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"


def _subclasses(error: type[VisionError]) -> Iterator[type[VisionError]]:
    for child in error.__subclasses__():
        yield child
        yield from _subclasses(child)


def registry() -> dict[str, type[VisionError]]:
    """Every error that has a code, by code."""
    return {error.code: error for error in _subclasses(VisionError) if hasattr(error, "code")}
