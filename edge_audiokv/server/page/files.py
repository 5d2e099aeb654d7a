"""The page's files: a fixed list from the package, under headers that let it do what it needs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import Response

INDEX = "index.html"
NAMES = (
    INDEX,
    "heads.js",
    "icon.svg",
    "live.js",
    "memory.js",
    "page.css",
    "page.js",
    "resample.js",
    "server.js",
    "sound.js",
    "tap.js",
    "words.js",
)
# Where each lies for a browser. Whoever asks gets them: they hold nothing but the page, which asks
# for the key where one is needed.
PATHS = {"/" if name == INDEX else f"/page/{name}": name for name in NAMES}
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Files and answers of this server alone; nothing written into the page runs or is shown as markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "cache-control": "no-store",  # a newer server has newer files, of which none may be missing
    "content-security-policy": _POLICY,
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def read(name: str) -> bytes:
    """A file of the list."""
    return files(__package__).joinpath("static", name).read_bytes()


async def page(request: Request) -> Response:
    """One of `PATHS`."""
    name = PATHS[request.url.path]
    body = read(name)
    headers = {
        **_HEADERS,
        "content-type": _TYPES[PurePosixPath(name).suffix],
        "content-length": str(len(body)),
    }
    return Response(body if request.method == "GET" else b"", headers=headers)
