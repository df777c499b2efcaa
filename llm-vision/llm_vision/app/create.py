"""The app: its routes, what every request passes before them, its start and its stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.cors import CORSMiddleware

from .. import __version__
from ..admission.deadlines import Deadlines
from ..admission.rate_limit import RateLimit
from ..admission.turns import FairPlaces
from ..api.manga_tools.owocr_socket import OwocrSocket
from ..api.routers import ROUTERS
from ..api.shared.dependencies import Services
from ..http import error_handlers
from ..http.exchange import BodyRules
from ..http.gate import Gate, GateRules
from ..http.limits import BodyBudget
from ..http.openapi import add_errors_and_keys
from ..http.routes import Routes
from ..metrics import Metrics
from ..models.registry import Catalog
from ..runtime.placement.device import cpu_cores
from ..settings import Settings
from .catalog import apply_settings
from .greeting import greet
from .objects import build_owocr_socket, build_services
from .rules import access_rules, ocr_engines

LEAST_THREADS = 2
_NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)
"""FastAPI would send requests, with what is in them, to wherever OpenTelemetry's variables point."""


def create_app(settings: Settings, catalog: Catalog | None = None) -> FastAPI:
    """The whole service as an ASGI app.

    Args:
        settings: what the operator set.
        catalog: the models; None for all of `llm_vision.models`.

    Raises:
        ValueError: a setting names a model that does not exist, or gives one a name that is taken.
    """
    catalog = apply_settings(settings, Catalog.discover() if catalog is None else catalog)
    metrics = Metrics()
    deadlines = Deadlines()
    services = build_services(settings, catalog, metrics, deadlines)

    app = FastAPI(
        title="LLM Vision",
        version=__version__,
        summary="Reads manga text and answers questions about pictures.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the gate takes the last slash away
        lifespan=_lifespan,
        telemetry=_NO_TELEMETRY,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    reader = ocr_engines(settings, catalog).first
    app.state.greet = lambda: greet(settings, services.models, reader)
    app.state.large_bodies = FairPlaces(1)
    routes = [*app.routes, *(route for router in ROUTERS for route in router.routes)]
    for router in ROUTERS:
        app.include_router(router)
    error_handlers.install(app)
    app.openapi = add_errors_and_keys(app.openapi)  # type: ignore[method-assign]
    rules = GateRules(
        access=access_rules(settings),
        body=BodyRules(
            max_bytes=settings.max_body_bytes,
            larger={"/ocr/batch": settings.max_batch_bytes},
            seconds=settings.body_seconds,
            budget=BodyBudget(settings.buffer_bytes),
            deadlines=deadlines,
        ),
        rate=RateLimit(settings.key_requests_per_minute),
        routes=Routes(routes),
        is_draining=lambda: services.lifecycle.is_draining,
    )
    app.add_middleware(Gate, rules=rules, metrics=metrics)
    app.state.owocr_socket = build_owocr_socket(settings, services, rules)
    if settings.cors_origins:  # added last, so it is outermost: a browser's preflight carries no key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["*"],  # clients have headers of their own, as `X-Stainless-Lang`
            expose_headers=["X-Request-Id", "Retry-After", "X-Should-Retry", "X-Truncated"],
        )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    threads = ThreadPoolExecutor(max(LEAST_THREADS, cpu_cores()), "gateway")  # more would only fight for the same lock
    asyncio.get_running_loop().set_default_executor(threads)
    services.lifecycle.start()
    greeting = asyncio.create_task(app.state.greet())
    owocr_socket: OwocrSocket | None = app.state.owocr_socket
    try:
        async with owocr_socket.serving() if owocr_socket else nullcontext():
            yield
    finally:
        greeting.cancel()
        await asyncio.gather(greeting, return_exceptions=True)
        await services.lifecycle.stop()


def _operation_id(route: APIRoute) -> str:
    return route.name
