"""Every deliberate error, with the status and code that clients see.

VisionError
├── BadRequest 400          invalid_host, malformed_http, malformed_json, invalid_encoding, json_too_deep,
│                           duplicate_key, malformed_multipart, multipart_limits
├── MissingCredentials 401  InvalidCredentials 401   Forbidden 403
├── NotFound 404            ModelNotFound 404        StreamNotFound 404     MethodNotAllowed 405
├── RequestTimeout 408      ModelInUse 409           WeightsNotDownloaded 409
├── PayloadTooLarge 413     ImageTooLarge 413        UriTooLong 414
├── Unsupported 415         unsupported_media_type, unsupported_encoding, unsupported_image_format
├── Unprocessable 422       the content of a well-formed request is wrong
├── UrlError 422            the same of a picture's URL
├── UrlImagesDisabled 403   ImageFetchTooLarge 413   ImageUpstreamError 502   ImageFetchTimeout 504
├── HeadersTooLarge 431
├── TooManyRequests 429     queue_full, rate_limited
├── ClientClosed 499        only in the log: nobody is there to read it
├── InternalError 500       InferenceFailed 500      UpstreamRejected 502   UpstreamInvalid 502
├── Unavailable 503         model_loading, model_not_ready, model_load_failed, insufficient_memory, worker_crashed,
│                           shutting_down, upstream_unavailable, machine_busy
├── DeadlineExceeded 504    HttpVersionNotSupported 505
└── ModelTooLarge 507       StorageFull 507

`code` is the contract; texts are for people: our own words and numbers, never an exception's or a client's.
"""

from __future__ import annotations

from .base import (
    VisionError,
    registry,
)
from .client import (
    BadRequest,
    ClientClosed,
    ContextLengthExceeded,
    DuplicateKey,
    FileRequired,
    Forbidden,
    HeadersTooLarge,
    ImageBadDimensions,
    ImageTooComplex,
    ImageTooLarge,
    ImageTooSmall,
    InvalidCredentials,
    InvalidEncoding,
    InvalidHost,
    InvalidImage,
    InvalidParameter,
    InvalidRequest,
    InvalidText,
    InvalidToolSchema,
    JsonTooDeep,
    MalformedHttp,
    MalformedJson,
    MalformedMultipart,
    MethodNotAllowed,
    MissingCredentials,
    ModelInUse,
    ModelNotFound,
    MultipartLimits,
    NotFound,
    PayloadTooLarge,
    PromptEmpty,
    PromptTooLong,
    QueueFull,
    RateLimited,
    RequestTimeout,
    StreamNotFound,
    TooManyFiles,
    TooManyRequests,
    UnknownParameter,
    Unprocessable,
    Unsupported,
    UnsupportedEncoding,
    UnsupportedImageFormat,
    UnsupportedLanguage,
    UnsupportedMediaType,
    UnsupportedTask,
    UriTooLong,
    WeightsNotDownloaded,
)
from .server import (
    DeadlineExceeded,
    HttpVersionNotSupported,
    InferenceFailed,
    InsufficientMemory,
    InternalError,
    MachineBusy,
    ModelLoadFailed,
    ModelLoading,
    ModelNotReady,
    ModelTooLarge,
    ShuttingDown,
    StorageFull,
    Unavailable,
    UpstreamInvalid,
    UpstreamRejected,
    UpstreamUnavailable,
    WorkerCrashed,
)
from .urls import (
    ImageFetchFailed,
    ImageFetchTimeout,
    ImageFetchTooLarge,
    ImageUpstreamError,
    InvalidDataUrl,
    InvalidUrl,
    TooManyRedirects,
    UrlError,
    UrlImagesDisabled,
    UrlNotAllowed,
    UrlSchemeNotAllowed,
)
