"""What is wrong with a request: 4xx."""

from __future__ import annotations

from .base import VisionError


class BadRequest(VisionError):
    status = 400


class InvalidHost(BadRequest):
    code, when = "invalid_host", "`Host` is missing or malformed, or the service does not accept this name."


class MalformedHttp(BadRequest):
    code, when = "malformed_http", "The request is not valid HTTP; the connection is closed."


class MalformedJson(BadRequest):
    code, when = "malformed_json", "The body is empty or not valid JSON; NaN and Infinity are not valid."


class InvalidEncoding(BadRequest):
    code, when = "invalid_encoding", "The JSON body is not UTF-8, or starts with a byte order mark."


class JsonTooDeep(BadRequest):
    code, when = "json_too_deep", "The JSON is nested more than 64 levels deep."


class DuplicateKey(BadRequest):
    code, when = "duplicate_key", "An object in the JSON body has the same key twice."


class MalformedMultipart(BadRequest):
    code, when = "malformed_multipart", "The form has no boundary, no final boundary, or a part without a name."


class MultipartLimits(BadRequest):
    code, when = (
        "multipart_limits",
        "More than 16 parts (79 for a batch), a field over 64 KiB, or part headers over 16 KiB.",
    )


class MissingCredentials(VisionError):
    status = 401
    code, when = "missing_credentials", "The service requires a key, and the request has none."


class InvalidCredentials(VisionError):
    status = 401
    code, when = "invalid_credentials", "The key is not valid."


class Forbidden(VisionError):
    status = 403
    code, when = "forbidden", "The POST comes from a web page of another origin, or the key may not manage models."


class NotFound(VisionError):
    status = 404
    code, when = "not_found", "No such route."


class ModelNotFound(VisionError):
    status = 404
    code, when = "model_not_found", "No model has this name; `detail` lists the models."


class StreamNotFound(VisionError):
    status = 404
    code, when = "stream_not_found", "No live stream has this id."


class MethodNotAllowed(VisionError):
    status = 405
    code, when = "method_not_allowed", "The route does not support this method."


class RequestTimeout(VisionError):
    status = 408
    code, when = "request_timeout", "The body took longer than `VISION_BODY_SECONDS` to arrive."


class ModelInUse(VisionError):
    status = 409
    code, when = "model_in_use", "The model to unload or delete is in use."


class WeightsNotDownloaded(VisionError):
    status = 409
    code, when = "weights_not_downloaded", "Only weights that the service downloaded can be deleted."


class PayloadTooLarge(VisionError):
    status = 413
    code, when = "payload_too_large", "The file or body exceeds its size limit."


class ImageTooLarge(VisionError):
    status = 413
    code, when = (
        "image_too_large",
        "The image has more pixels than `VISION_MAX_MEGAPIXELS` (WebP: five eighths of that).",
    )


class UriTooLong(VisionError):
    status = 414
    code, when = "uri_too_long", "The URL is longer than 8 KiB."


class Unsupported(VisionError):
    status = 415


class UnsupportedMediaType(Unsupported):
    code, when = "unsupported_media_type", "The route does not accept this content type."


class UnsupportedEncoding(Unsupported):
    code, when = "unsupported_encoding", "The request body is compressed."


class UnsupportedImageFormat(Unsupported):
    code, when = "unsupported_image_format", "The file is not an image in an accepted format, whatever its name."


class Unprocessable(VisionError):
    status = 422


class InvalidRequest(Unprocessable):
    code, when = "invalid_request", "The JSON body is not an object."


class InvalidParameter(Unprocessable):
    code, when = "invalid_parameter", "A field has an invalid value; `error.param` names it."


class InvalidToolSchema(Unprocessable):
    code, when = (
        "invalid_tool_schema",
        "A tool's parameters are not a valid JSON schema, or not one that can be enforced.",
    )


class UnknownParameter(Unprocessable):
    code, when = (
        "unknown_parameter",
        "A route under `/models` does not have this field; other routes ignore unknown fields.",
    )


class InvalidText(Unprocessable):
    code = "invalid_text"
    when = "The text has control characters, lone surrogates or a model's own tokens, or a form field is not UTF-8."


class FileRequired(Unprocessable):
    code, when = "file_required", "The file or its file name is missing, or `file` was sent as text."


class TooManyFiles(Unprocessable):
    code, when = "too_many_files", "More than one `file`, or more than 64 `files`."


class InvalidImage(Unprocessable):
    code, when = "invalid_image", "The image is damaged or incomplete."


class ImageTooComplex(Unprocessable):
    code, when = (
        "image_too_complex",
        "The image has thousands of scans, segments or chunks, or takes more than 5 s of processor time to decode.",
    )


class ImageBadDimensions(Unprocessable):
    code, when = (
        "image_bad_dimensions",
        "A side is longer than `VISION_MAX_SIDE`, or the aspect ratio exceeds `VISION_MAX_RATIO`.",
    )


class ImageTooSmall(Unprocessable):
    code, when = "image_too_small", "A side is shorter than `VISION_MIN_SIDE`."


class PromptEmpty(Unprocessable):
    code, when = "prompt_empty", "There is no user message, or one has neither text nor an image."


class PromptTooLong(Unprocessable):
    code, when = "prompt_too_long", "The prompt is longer than `VISION_MAX_PROMPT_CHARS`."


class ContextLengthExceeded(Unprocessable):
    code, when = "context_length_exceeded", "Prompt, images and answer together exceed the model's context."


class UnsupportedLanguage(Unprocessable):
    code, when = "unsupported_language", "The model does not read this language; `detail` lists those it reads."


class UnsupportedTask(Unprocessable):
    code, when = "unsupported_task", "The named model cannot do what the route needs."


class HeadersTooLarge(VisionError):
    status = 431
    code, when = "headers_too_large", "More than 100 headers, or headers over 64 KiB."


class TooManyRequests(VisionError):
    status = 429
    retryable = True


class QueueFull(TooManyRequests):
    code, when = "queue_full", "The model or its server is full, the wait was too long, or too many images are waiting."


class RateLimited(TooManyRequests):
    code, when = (
        "rate_limited",
        "The model is full and this client holds most of its places, or `VISION_KEY_REQUESTS_PER_MINUTE` is used up.",
    )


class ClientClosed(VisionError):
    status = 499
    code, when = "client_closed", "The client left before the answer; appears in logs and metrics only."
