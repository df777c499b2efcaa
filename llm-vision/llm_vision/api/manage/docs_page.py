"""/docs: the API's page, from files of installed packages, so that it works offline."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

from ...errors import NotFound
from ...http.access import DOCS_FILES

router = APIRouter(include_in_schema=False)

_FOLDERS = (files("llm_vision") / "web", files("fastapi_swagger") / "resources")
_MEDIA_TYPES = {"js": "text/javascript", "css": "text/css", "png": "image/png"}


@router.get("/docs")
@router.head("/docs")
async def docs() -> HTMLResponse:
    """The page on which every route can be tried."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="LLM Vision API",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon-32x32.png",
    )
    own_script = b'<script src="/docs/docs.js"></script></body>'
    return HTMLResponse(bytes(page.body).replace(b"</body>", own_script))


@router.get("/docs/{name}")
async def docs_file(name: str) -> Response:
    """A file of the page."""
    if name not in DOCS_FILES:
        raise NotFound("there is no such file")
    file = next(folder / name for folder in _FOLDERS if (folder / name).is_file())
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
    return Response(file.read_bytes(), media_type=media_type, headers={"Cache-Control": "max-age=86400"})
