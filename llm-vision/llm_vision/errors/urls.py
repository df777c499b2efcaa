"""What is wrong with a picture that is named by its URL."""

from __future__ import annotations

from .base import VisionError


class UrlImagesDisabled(VisionError):
    status = 403
    code, when = "url_images_disabled", "Pictures by URL are off: `VISION_URL_HOSTS` is empty."


class UrlError(VisionError):
    status = 422


class UrlSchemeNotAllowed(UrlError):
    code, when = "url_scheme_not_allowed", "The URL of a picture is not `https:` (or `http:`, where that is allowed)."


class InvalidUrl(UrlError):
    code, when = (
        "invalid_url",
        "The URL of a picture is malformed, or has a user, odd characters, or an impossible port.",
    )


class InvalidDataUrl(UrlError):
    code, when = (
        "invalid_data_url",
        "A data URI is malformed, empty, not base64, of another type than `image/*`, or SVG.",
    )


class UrlNotAllowed(UrlError):
    code, when = "url_not_allowed", "The host is not in `VISION_URL_HOSTS`, or an address of it is not public."


class TooManyRedirects(UrlError):
    code, when = "too_many_redirects", "The picture's server redirects more often than `VISION_URL_REDIRECTS`."


class ImageFetchFailed(UrlError):
    code, when = "image_fetch_failed", "The picture's server refuses, or what it sends is no whole picture."


class ImageFetchTooLarge(VisionError):
    status = 413
    code, when = "image_fetch_too_large", "The picture behind a URL is above `VISION_MAX_FILE_MB`."


class ImageUpstreamError(VisionError):
    status = 502
    code, when = "image_upstream_error", "The picture's server cannot be reached, is unknown, or fails."


class ImageFetchTimeout(VisionError):
    status = 504
    code, when = "image_fetch_timeout", "The picture's server took longer than `VISION_URL_SECONDS`."
