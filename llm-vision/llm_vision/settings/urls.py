"""Settings of pictures by URL: from where they may be fetched."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .group import HostList, SettingsGroup


class UrlSettings(SettingsGroup):
    """Variables under the heading Pictures by URL."""

    url_hosts: HostList = ()
    """Hosts that images may be fetched from by URL, comma separated; `*`: every public host. Empty: none."""
    url_http: bool = False
    """Whether `http:` URLs are allowed besides `https:`."""
    url_private: bool = False
    """Whether hosts listed by name may be in a private network, on this machine, or on ports other than 80 and 443."""
    url_redirects: Annotated[int, Field(ge=0, le=3)] = 0
    """Maximum number of redirects when fetching an image."""
    url_seconds: Annotated[float, Field(gt=0, le=60)] = 10
    """Time limit for fetching an image, in seconds."""
