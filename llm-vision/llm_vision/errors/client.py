"""What is wrong with a request: 4xx."""

from __future__ import annotations

from .base import VisionError


class BadRequest(VisionError):
    status = 400


class InvalidHost(BadRequest):
    code, when = "invalid_host", "`Host` is missing, malformed, or a foreign name while only this machine is served."


class MalformedHttp(BadRequest):
    code, when = "malformed_http", "This is no HTTP that can be understood; the connection is closed."


class MalformedJson(BadRequest):
    code, when = "malformed_json", "The body is empty or not JSON, or holds NaN or Infinity."


class InvalidEncoding(BadRequest):
    code, when = "invalid_encoding", "The JSON body is not UTF-8, or has a byte order mark."


class JsonTooDeep(BadRequest):
    code, when = "json_too_deep", "JSON nested more than 64 levels."


class DuplicateKey(BadRequest):
    code, when = "duplicate_key", "An object of the JSON body has the same key twice."


class MalformedMultipart(BadRequest):
    code, when = "malformed_multipart", "The form has no boundary, a part without name, or no final boundary."


class MultipartLimits(BadRequest):
    code, when = "multipart_limits", "More than 16 parts (batch: 79), a field above 64 KiB, part headers above 16 KiB."


class MissingCredentials(VisionError):
    status = 401
    code, when = "missing_credentials", "Keys are set and the request has none."


class InvalidCredentials(VisionError):
    status = 401
    code, when = "invalid_credentials", "The key is not one of them."


class Forbidden(VisionError):
    status = 403
    code, when = "forbidden", "A web page of another origin posts, or the key may not manage models."


class NotFound(VisionError):
    status = 404
    code, when = "not_found", "No such route."


class ModelNotFound(VisionError):
    status = 404
    code, when = "model_not_found", "No model has the name; the text lists those there are."


class StreamNotFound(VisionError):
    status = 404
    code, when = "stream_not_found", "No live stream has the id."


class MethodNotAllowed(VisionError):
    status = 405
    code, when = "method_not_allowed", "The route does not answer this method."


class RequestTimeout(VisionError):
    status = 408
    code, when = "request_timeout", "The body took longer than `VISION_BODY_SECONDS`."


class ModelInUse(VisionError):
    status = 409
    code, when = "model_in_use", "The model to unload or delete is in use."


class WeightsNotDownloaded(VisionError):
    status = 409
    code, when = "weights_not_downloaded", "Only weights that the service has downloaded itself can be deleted."


class PayloadTooLarge(VisionError):
    status = 413
    code, when = "payload_too_large", "The file or body is above its limit."


class ImageTooLarge(VisionError):
    status = 413
    code, when = "image_too_large", "More pixels than `VISION_MAX_MEGAPIXELS` (of a WebP: five eighths of them)."


class UriTooLong(VisionError):
    status = 414
    code, when = "uri_too_long", "A URL above 8 KiB."


class Unsupported(VisionError):
    status = 415


class UnsupportedMediaType(Unsupported):
    code, when = "unsupported_media_type", "A content type that the route does not take."


class UnsupportedEncoding(Unsupported):
    code, when = "unsupported_encoding", "A compressed request body."


class UnsupportedImageFormat(Unsupported):
    code, when = "unsupported_image_format", "The file is not a picture in an accepted format, whatever its name says."


class Unprocessable(VisionError):
    status = 422


class InvalidRequest(Unprocessable):
    code, when = "invalid_request", "The JSON body is not an object."


class InvalidParameter(Unprocessable):
    code, when = "invalid_parameter", "A field is not what it must be; `error.param` names it."


class InvalidToolSchema(Unprocessable):
    code, when = "invalid_tool_schema", "The parameters of a tool are no JSON schema, or one that cannot be followed."


class UnknownParameter(Unprocessable):
    code, when = "unknown_parameter", "A field that a route under `/models` does not know; other routes ignore such."


class InvalidText(Unprocessable):
    code, when = "invalid_text", "Control characters, lone surrogates, or a form field that is not UTF-8."


class FileRequired(Unprocessable):
    code, when = "file_required", "No file, one without a name, or `file` sent as text."


class TooManyFiles(Unprocessable):
    code, when = "too_many_files", "More than one `file`, or 64 `files`."


class InvalidImage(Unprocessable):
    code, when = "invalid_image", "A damaged or incomplete picture, or one that takes its decoder longer than 5 s."


class ImageBadDimensions(Unprocessable):
    code, when = "image_bad_dimensions", "A side above `VISION_MAX_SIDE`, or sides above `VISION_MAX_RATIO` to 1."


class ImageTooSmall(Unprocessable):
    code, when = "image_too_small", "A side below `VISION_MIN_SIDE`."


class PromptEmpty(Unprocessable):
    code, when = "prompt_empty", "A message of the user has neither text nor picture, or there is none."


class PromptTooLong(Unprocessable):
    code, when = "prompt_too_long", "A prompt above `VISION_MAX_PROMPT_CHARS`."


class ContextLengthExceeded(Unprocessable):
    code, when = "context_length_exceeded", "Prompt, pictures and answer are together longer than the model takes."


class UnsupportedLanguage(Unprocessable):
    code, when = "unsupported_language", "The model does not read the language; the text lists those it reads."


class UnsupportedTask(Unprocessable):
    code, when = "unsupported_task", "The named model cannot do what the route asks."


class HeadersTooLarge(VisionError):
    status = 431
    code, when = "headers_too_large", "More than 100 headers, or above 64 KiB."


class TooManyRequests(VisionError):
    status = 429
    retryable = True


class QueueFull(TooManyRequests):
    code, when = "queue_full", "The model is full, or its server; the wait was too long; or too many pictures wait."


class RateLimited(TooManyRequests):
    code, when = (
        "rate_limited",
        "The model is full, and this client has most of its places; or `VISION_KEY_REQUESTS_PER_MINUTE` are used up.",
    )


class ClientClosed(VisionError):
    status = 499
    code, when = "client_closed", "Only in log and metrics: the client left before the answer."
