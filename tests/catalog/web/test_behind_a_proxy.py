"""The page behind a real nginx, set up as the how-to says: nothing but names, ports and paths is put in."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from meetme.catalog.words import What
from meetme.runtime.identity import create_identity
from tests.catalog.test_service import Side
from tests.catalog.web.showcase import showing, world
from tests.catalog.web.test_pages import Browser
from tests.composer.serving import free_port

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="no nginx here: apt-get install nginx"),
]
PAGE = Path(__file__).parents[3] / "docs/how-to/use-the-web-page.md"
AROUND = """
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)


@asynccontextmanager
async def nginx(folder: Path, port: int, behind: str) -> AsyncIterator[ssl.SSLContext]:
    """The proxy of the how-to at `port` of localhost, before what is at `behind`: whom a browser trusts."""
    identity = create_identity("localhost")
    (folder / "cert.pem").write_bytes(identity.certificate)
    (folder / "key.pem").write_bytes(identity.key)
    (server,) = re.findall(r"^```nginx\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for written, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("catalogue.example.net", "localhost"),
        ("/etc/ssl/catalogue.pem", f"{folder}/cert.pem"),
        ("/etc/ssl/catalogue.key", f"{folder}/key.pem"),
        ("http://127.0.0.1:8472", behind),
    ):
        assert server.count(written) == 1, written
        server = server.replace(written, here)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(AROUND.format(user=user, folder=folder, server=server))
    process = await asyncio.create_subprocess_exec(str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"))
    try:
        async with asyncio.timeout(20):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        assert process.returncode is None, (folder / "error.log").read_text()
        yield ssl.create_default_context(cafile=str(folder / "cert.pem"))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def proxied(tmp_path: Path) -> AsyncIterator[tuple[Browser, Side, httpx2.AsyncClient]]:
    """A browser that comes by the proxy to the buyer's page, and a client that has its way alone."""
    folder = tmp_path / "nginx"
    folder.mkdir()
    port = free_port()
    url = f"https://localhost:{port}"
    async with showing(tmp_path, shared := world(), web_url=url) as (a, _):
        shared.held.add(What.NEGOTIATION)
        async with nginx(folder, port, a.service.local_url) as trusted:
            browser = Browser(a)
            await browser.http.aclose()
            browser.http = httpx2.AsyncClient(base_url=url, verify=trusted, trust_env=False, follow_redirects=True)
            async with browser.http, httpx2.AsyncClient(base_url=url, verify=trusted, trust_env=False) as stranger:
                yield browser, a, stranger


async def test_the_page_behind_a_proxy_as_the_how_to_has_it(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (browser, a, stranger):
        assert (await browser.log_in("anna")).status_code == 200
        (kept,) = browser.http.cookies.jar
        assert (kept.name, kept.secure, kept.path) == ("__Host-meetme-csp-a", True, "/")
        policy = (await browser.get("/")).headers["content-security-policy"]
        async with httpx2.AsyncClient(trust_env=False) as direct:
            without = await direct.get(f"{a.service.local_url}/login")
        assert policy == without.headers["content-security-policy"]
        for path in ("/api/v1/orders", "/metrics"):
            assert (await stranger.get(path)).status_code == 404
        await browser.get("/offers/csp-b/backup")
        for origin in ("https://evil.example", "https://localhost", "null"):
            browser.http.headers["origin"] = origin
            refused = await browser.send("/orders", way="")
            assert refused.status_code == 403, origin
            await browser.get("/offers/csp-b/backup")
        assert await a.client.orders() == []
        browser.http.headers["origin"] = str(browser.http.base_url).rstrip("/")
        placed = await browser.send("/orders", way="00000000-0000-0000-0000-000000000002")
        assert placed.status_code == 200, placed.text
        await told_at_once(browser, a, placed.url.path)


async def told_at_once(browser: Browser, a: Side, path: str) -> None:
    """What happens to the order comes through the proxy while the answer is still open."""
    (live,) = re.findall(r'hx-sse:connect="([^"]+)"', (await browser.get(path)).text)
    async with asyncio.timeout(30), browser.http.stream("GET", live) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()

        async def hear(words: str) -> None:
            async for line in lines:
                if words in line:
                    return
            raise AssertionError(f"the stream has ended without '{words}'")

        await hear("Agreeing on addresses")
        began = time.monotonic()
        await a.client.terminate(path.rpartition("/")[2])
        await hear("undo-")
        assert time.monotonic() - began < 5.0, "the proxy keeps nothing back"
        await hear("event: over")
