"""All routes, in the order in which the documentation shows them."""

from __future__ import annotations

from .analyze import routes as analyze
from .manage import docs_page, downloads, health, models
from .manga_tools import routes as manga_tools
from .ocr import batch, crop, imagetrans, page
from .ollama import chat as ollama_chat
from .ollama import models as ollama_models
from .openai import routes as openai

ROUTERS = (
    crop.router,
    page.router,
    batch.router,
    imagetrans.router,
    manga_tools.router,
    analyze.router,
    openai.router,
    ollama_chat.router,
    ollama_models.router,
    models.router,
    downloads.router,
    health.router,
    docs_page.router,
)
