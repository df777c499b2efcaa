"""Formats of texts as patterns; each is at least as strict as the format, so that every checker is content."""

from __future__ import annotations

_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    "|(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29)"
)
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = f"{_CLOCK}:[0-5][0-9](?:\\.[0-9]{{1,6}})?(?:Z|[+-]{_CLOCK})"
_MINUTES = "[0-9]{1,6}M(?:[0-9]{1,6}S)?"
_SPAN = f"T(?:[0-9]{{1,6}}H(?:{_MINUTES})?|{_MINUTES}|[0-9]{{1,6}}S)"
_MONTHS = "[0-9]{1,4}M(?:[0-9]{1,6}D)?"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9]{0,29}|[A-Za-z0-9]{0,28}-[A-Za-z0-9]{1,29})"
_GROUP = "[0-9a-fA-F]{1,4}"
_PATH = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})"

FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": f"P(?:[0-9]{{1,6}}W|(?:[0-9]{{1,3}}Y(?:{_MONTHS})?|{_MONTHS}|[0-9]{{1,6}}D)(?:{_SPAN})?|{_SPAN})",
    "email": "[A-Za-z0-9_+-]{1,20}(?:\\.[A-Za-z0-9_+-]{1,20}){0,2}"
    "@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,28}[A-Za-z0-9])?\\.){1,4}[A-Za-z]{2,24}",
    "hostname": f"{_LABEL}(?:\\.{_LABEL}){{0,3}}",
    "ipv4": f"{_BYTE}(?:\\.{_BYTE}){{3}}",
    "ipv6": f"(?:{_GROUP}:){{7}}{_GROUP}|(?:{_GROUP}:){{1,6}}:{_GROUP}|::{_GROUP}|::",
    "uuid": "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "uri": f"[A-Za-z][A-Za-z0-9+.-]{{0,20}}://{_LABEL}(?:\\.{_LABEL}){{0,3}}(?::[0-9]{{1,4}})?(?:/{_PATH}*)*"
    f"(?:\\?(?:{_PATH}|[/?])*)?(?:#(?:{_PATH}|[/?])*)?",
}
"""Without anchors; a name that is not here cannot be asked for by itself."""
REFUSED_FORMATS = frozenset({
    "idn-email", "idn-hostname", "iri", "iri-reference", "json-pointer", "regex", "relative-json-pointer",
    "uri-reference", "uri-template",
})  # fmt: skip
"""The others that JSON schema defines. It says to pass over those that it does not."""
_OF_ZOD = {
    "email": r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
    "duration": r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$",
    "hostname": r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$",
}
"""Patterns that zod writes beside formats, with lookarounds: every text of our formats fits them."""


def is_defined(name: object) -> bool:
    """Whether JSON schema defines the format; what is no name of one is not passed over either."""
    return not isinstance(name, str) or name in FORMATS or name in REFUSED_FORMATS


def says_nothing_more(name: str, pattern: object) -> bool:
    """Whether it is known that every text of the format fits this pattern."""
    return pattern is not None and pattern == _OF_ZOD.get(name)
