"""Durations as people write them: `90`, `5m`, `1h30m`."""

from __future__ import annotations

import re

FOR_EVER = -1.0
_DURATION = re.compile(r"(?P<sign>-?)(?P<parts>(\d+(\.\d+)?(ms|s|m|h))+)")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str) -> float:
    """Seconds of a number or of a text like `5m` or `1h30m`.

    Raises:
        ValueError: it is neither.
        OverflowError: it has too many digits.
    """
    duration = _DURATION.fullmatch(text.strip())
    if not duration:
        return float(text)
    seconds = sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(duration["parts"]))
    return -seconds if duration["sign"] else seconds
