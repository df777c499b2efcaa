"""Settings of pictures by URL: from where they may be fetched."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .group import HostList, SettingsGroup


class UrlSettings(SettingsGroup):
    """Variables under the heading Pictures by URL."""

    url_hosts: HostList = ()
    """Hosts that pictures may be fetched from by URL, comma separated; `*` for every public one. Empty: none."""
    url_http: bool = False
    """Whether `http:` is allowed besides `https:`."""
    url_private: bool = False
    """Whether hosts listed by name may be in a private network, on this machine, or on ports other than 80 and 443."""
    url_redirects: Annotated[int, Field(ge=0, le=3)] = 0
    """How often a picture's server may send on to another URL."""
    url_seconds: Annotated[float, Field(gt=0, le=60)] = 10
    """Longest time that fetching a picture may take."""
