"""The image that ours is built from: the registry's, or where that cannot be reached a stand-in of Debian packages."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from containers.engine import Engine, Failed, run

NAME = "python:3.11-slim-bookworm"
STAND_IN = "llm-vision-test-base"
"""Under a name of its own: a real build must never take it."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")  # as slim images do


def provide(engine: Engine) -> tuple[str, str]:
    """The image's name, and where it comes from, once it is there."""
    if _is_there(engine, NAME) or _pull(engine):
        return NAME, "the registry's"
    if _is_there(engine, STAND_IN):
        return STAND_IN, "a stand-in that was here"
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        without = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
        certificates = f"--customize-hook=copy-in {CERTIFICATES} {CERTIFICATES.parent}"  # whom this machine trusts
        options = ["--quiet", "--variant=minbase", f"--include={_PACKAGES}", *without, certificates]
        run(["mmdebstrap", *options, "bookworm", str(archive)], engine.environment)
        engine.docker("import", str(archive), STAND_IN)
    return STAND_IN, "a stand-in"


def _is_there(engine: Engine, name: str) -> bool:
    try:
        engine.docker("image", "inspect", name)
    except Failed:
        return False
    return True


def _pull(engine: Engine) -> bool:
    done = subprocess.run(["docker", "pull", NAME], env=engine.environment, capture_output=True, check=False)
    return done.returncode == 0
