"""What pages are dressed in: style sheets, scripts, the icon. Read once, compressed once, named by what they hold.

A name that changes with the content may be kept for ever by whoever has fetched it.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

_KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_NAMES = ("site.css", "site.js", "icon.svg", "vendor/htmx.min.js", "vendor/hx-sse.min.js")
PREFIX = "/static"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    url: str
    kind: str
    plain: bytes
    packed: bytes
    """With gzip."""


class Assets:
    """All of them, by the name that a page calls them by, and by their address."""

    def __init__(self) -> None:
        self._by_name = {name: _read(name) for name in _NAMES}
        self._by_url = {asset.url: asset for asset in self._by_name.values()}

    def url(self, name: str) -> str:
        """Where a page finds it."""
        return self._by_name[name].url

    def all(self) -> tuple[Asset, ...]:
        """Every one."""
        return tuple(self._by_name.values())

    def answer(self, request: Request) -> Response | None:
        """The file that is asked for, or None."""
        asset = self._by_url.get(request.url.path)
        if asset is None:
            return None
        headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.packed, media_type=asset.kind, headers=headers | {"content-encoding": "gzip"})
        return Response(asset.plain, media_type=asset.kind, headers=headers)


def _read(name: str) -> Asset:
    content = (files("meetme.catalog.web") / "static").joinpath(*name.split("/")).read_bytes()
    mark = sha256(content).hexdigest()[:12]
    stem, _, kind = name.rpartition("/")[2].rpartition(".")
    url = f"{PREFIX}/{stem}.{mark}.{kind}"
    return Asset(url, _KINDS[kind], content, gzip.compress(content, 9, mtime=0))
