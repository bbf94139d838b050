"""Routes for the page itself: HTML, scripts and styles. No data is in them, so whoever asks needs no key."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Response
from fastapi import Path as InPath

from api_min.problem import ProblemError

router = APIRouter(tags=["ops"], include_in_schema=False)

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

# Nothing comes from elsewhere and nothing goes there; no text can become a script, whatever the figures' names are.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@router.get("/ops")
async def page() -> Response:
    """The page. It asks for a key, keeps it in its tab, and draws /v1/ops/overview."""
    html, _ = _files()
    headers = {**_HEADERS, "Cache-Control": "no-cache"}
    return Response(html, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/ops/{asset}")
async def asset(asset: Annotated[str, InPath(max_length=100)]) -> Response:
    """A script, a style or the icon. Its name has a hash of its content, so it may be kept for ever."""
    _, assets = _files()
    if asset not in assets:
        raise ProblemError("not_found", "There is no such file. Load the page again.")
    content, media_type = assets[asset]
    headers = {**_HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
    return Response(content, media_type=media_type, headers=headers)


@cache
def _files() -> tuple[bytes, dict[str, tuple[bytes, str]]]:
    """The page, which names its assets, and the assets by those names."""
    html = (_FOLDER / "page.html").read_text()
    assets = {}
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            name = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
            html = html.replace(f'"/ops/{path.name}"', f'"/ops/{name}"')
            assets[name] = (content, _TYPES[path.suffix])
    return html.encode(), assets
