"""All routes, in the order in which the documentation shows them."""

from __future__ import annotations

from . import (
    analyze_image,
    batch,
    docs,
    downloads,
    health,
    manga_clients,
    models,
    ocr,
    ollama,
    ollama_models,
    openai,
    page,
)

ROUTERS = (
    ocr.router,
    page.router,
    batch.router,
    manga_clients.router,
    analyze_image.router,
    openai.router,
    ollama.router,
    ollama_models.router,
    models.router,
    downloads.router,
    health.router,
    docs.router,
)
