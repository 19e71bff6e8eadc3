"""One listener, two doors: programs come to the API, people to the pages."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

PROGRAMS = ("/api", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs")
"""What the API answers, and all beneath it."""


class Doors:
    """Sends each request to where it belongs, by its path alone."""

    def __init__(self, api: ASGIApp, pages: ASGIApp) -> None:
        self._api = api
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path: str = scope.get("path", "")
        programs = any(path == door or path.startswith(f"{door}/") for door in PROGRAMS)
        await (self._api if programs else self._pages)(scope, receive, send)
