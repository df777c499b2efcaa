"""`python -m llm_vision.cli.health`: whether the service on this machine answers, for a container's health check.

Exit status 0 or 1. Imports nothing beside the standard library: it is run every few seconds.
"""

from __future__ import annotations

import http.client
import os
import sys

_SECONDS = 4


def answers(port: int) -> bool:
    """Whether /livez answers 200 in a few seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers(int(os.environ.get("VISION_PORT") or 9100)) else 1)
