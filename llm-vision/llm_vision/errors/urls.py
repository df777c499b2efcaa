"""What is wrong with a picture that is named by its URL."""

from __future__ import annotations

from .base import VisionError


class UrlImagesDisabled(VisionError):
    status = 403
    code, when = "url_images_disabled", "Image URLs are disabled: `VISION_URL_HOSTS` is empty."


class UrlError(VisionError):
    status = 422


class UrlSchemeNotAllowed(UrlError):
    code, when = "url_scheme_not_allowed", "The image URL is not `https:` (or `http:`, where allowed)."


class InvalidUrl(UrlError):
    code, when = (
        "invalid_url",
        "The image URL is malformed, or has user information, invalid characters or an invalid port.",
    )


class InvalidDataUrl(UrlError):
    code, when = (
        "invalid_data_url",
        "The data URI is malformed, empty, not base64, not of type `image/*`, or SVG.",
    )


class UrlNotAllowed(UrlError):
    code, when = "url_not_allowed", "The host is not in `VISION_URL_HOSTS`, or one of its addresses is not public."


class TooManyRedirects(UrlError):
    code, when = "too_many_redirects", "The image server redirects more often than `VISION_URL_REDIRECTS` allows."


class ImageFetchFailed(UrlError):
    code, when = "image_fetch_failed", "The image server refused the request, or did not send a complete image."


class ImageFetchTooLarge(VisionError):
    status = 413
    code, when = "image_fetch_too_large", "The image behind the URL is larger than `VISION_MAX_FILE_MB`."


class ImageUpstreamError(VisionError):
    status = 502
    code, when = "image_upstream_error", "The image server is unknown, cannot be reached, or fails."


class ImageFetchTimeout(VisionError):
    status = 504
    code, when = "image_fetch_timeout", "The image server took longer than `VISION_URL_SECONDS`."
