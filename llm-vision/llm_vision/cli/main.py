"""The command `llm-vision`: its arguments and exit statuses."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from .. import __version__, logs
from ..settings import Settings
from ..settings.explain import explain, find_misspelt

EX_CONFIG = 78  # sysexits.h: something is wrong in the configuration

log = logging.getLogger("llm_vision")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _build_parser().parse_args(arguments)
    overrides = {"bind": options.host, "port": options.port} if options.command == "serve" else {}
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors():
            print(f"llm-vision: {explain(problem)}", file=sys.stderr)
        return EX_CONFIG
    return _serve(settings) if options.command == "serve" else _download(settings, options.model)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llm-vision", description="Self-hosted vision service.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer on HTTP until stopped")
    serve.add_argument("--host", help="address to listen on (VISION_BIND, 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (VISION_PORT, 9100)")
    models = commands.add_parser("models", help="weights on the volumes").add_subparsers(
        required=True, dest="action", metavar="ACTION"
    )
    models.add_parser("download", help="download a model's weights").add_argument("model", help="model id")
    return parser


def _download(settings: Settings, model_id: str) -> int:
    from .models import download_model  # noqa: PLC0415  (reports bad settings without importing everything)

    return download_model(settings, model_id)


def _serve(settings: Settings) -> int:
    from ..app.create import create_app  # noqa: PLC0415  (reports bad settings without importing everything)
    from ..http.server import Seconds, listen, serve  # noqa: PLC0415

    logs.configure(settings.log_level, settings.log_format)
    for warning in find_misspelt():
        log.warning(warning)
    if not settings.is_loopback and not (settings.api_keys or settings.admin_keys):
        log.warning("open to the network without a key: set VISION_API_KEYS, or VISION_BIND=127.0.0.1")
    try:
        app = create_app(settings)
    except ValueError as error:
        print(f"llm-vision: {error}", file=sys.stderr)
        return EX_CONFIG
    try:
        sock = listen(settings.bind, settings.port)
    except OSError as error:
        print(f"llm-vision: VISION_BIND, VISION_PORT: cannot listen there: {error.strerror}", file=sys.stderr)
        return EX_CONFIG
    serve(app, sock, Seconds(settings.header_seconds, settings.body_seconds, settings.drain_seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
