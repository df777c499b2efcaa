"""Which URLs a picture may be fetched from: strict about how they are written and where they lead."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ...errors import InvalidUrl, UrlNotAllowed, UrlSchemeNotAllowed

LONGEST = 2048
"""Characters of a URL."""
LONGEST_NAME = 253
"""Characters of a host's name (RFC 1035)."""
PORTS = {"https": 443, "http": 80}
OPEN_PORTS = frozenset(PORTS.values())
"""Others only of hosts that may be private: behind them are services that show no pictures to the public."""
NOT_ALLOWED = "this host may not be asked for pictures"
"""The same text for everything: what is behind a name is nobody's business."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[^\]/?#]*\]|[^/?#:@\[\]]*)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!\"$-~]*)?"
)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class UrlRules:
    """What an operator allows."""

    hosts: frozenset[str] = frozenset()
    """Names, in small letters; `*` for every public one; empty: none."""
    allows_http: bool = False
    allows_private: bool = False
    """Whether hosts that are listed by name may have addresses that are not public."""

    def trusts(self, host: str) -> bool:
        """Whether a host may be in a private network, and asked on any port."""
        return self.allows_private and host in self.hosts


@dataclass(frozen=True)
class PictureUrl:
    """A URL that was taken apart, and is written again from its parts."""

    scheme: str
    host: str
    """A name in small letters, or an address without brackets."""
    port: int
    target: str
    """Path and query."""

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The URL as it is usually written."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def at(self, address: Address) -> str:
        """The URL with an address in place of the name."""
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.scheme}://{host}:{self.port}{self.target}"


def parse_url(text: str, rules: UrlRules) -> PictureUrl:
    """Take a URL apart.

    Raises:
        UrlSchemeNotAllowed: it is none of http and https, or http where that is not allowed.
        InvalidUrl: it is too long, or written in a way that programs understand differently.
        UrlNotAllowed: its host or port is not in the list, or it is an address in disguise.
    """
    if len(text) > LONGEST:  # first: the patterns' time grows with it
        raise InvalidUrl(f"the URL is longer than {LONGEST} characters", param="url")
    scheme = _SCHEME.match(text)
    if scheme is None or scheme[1].lower() not in PORTS or (scheme[1].lower() == "http" and not rules.allows_http):
        allowed = "https or http" if rules.allows_http else "https"
        raise UrlSchemeNotAllowed(f"an image URL must start with {allowed}", param="url")
    match = _URL.fullmatch(scheme[1].lower() + text[len(scheme[1]) :])
    if match is None or "\\" in text:
        raise InvalidUrl(
            "the URL is malformed, or has a user, a fragment or characters that do not belong there", param="url"
        )
    port = int(match["port"] or PORTS[match["scheme"]])
    if not 0 < port <= 65535:
        raise InvalidUrl("the URL has an invalid port", param="url")
    target = match["target"] or "/"
    host = _parse_host(match["host"])
    is_listed = host in rules.hosts or "*" in rules.hosts
    if not is_listed or (port not in OPEN_PORTS and not rules.trusts(host)):
        raise UrlNotAllowed(NOT_ALLOWED, param="url")
    return PictureUrl(match["scheme"], host, port, target if target.startswith("/") else f"/{target}")


def _parse_host(text: str) -> str:
    """A name or an address in its usual form.

    Raises:
        InvalidUrl: it is neither.
        UrlNotAllowed: it is an address in an unusual form, or characters that some programs take for others.
    """
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1].replace("%", "zone")))
        except ValueError:
            raise UrlNotAllowed(NOT_ALLOWED, param="url") from None
    if not text.isascii():
        raise UrlNotAllowed(NOT_ALLOWED, param="url")
    name = text.lower()
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise InvalidUrl("the URL has no valid host name", param="url")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise UrlNotAllowed(NOT_ALLOWED, param="url") from None
    return name


def check_addresses(url: PictureUrl, addresses: list[Address], rules: UrlRules) -> Address:
    """The address to connect to; every one that the name has must be allowed.

    Raises:
        UrlNotAllowed: one is not public, and that is not allowed for this host.
    """
    if not addresses or not (rules.trusts(url.host) or all(map(is_public, addresses))):
        raise UrlNotAllowed(NOT_ALLOWED, param="url")
    return addresses[0]


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, and does not carry another one that may not."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if carried or address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast


_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that is handed out (RFC 4291); outside are also NAT64 and other ways to write IPv4 addresses."""
