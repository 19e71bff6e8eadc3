"""Chromium in front of two members' catalog servers. Whatever a page asks of another host, or complains of, fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from meetme.catalog.fake import FakeWorld
from tests.catalog.test_service import Side
from tests.catalog.web.showcase import PASSWORD, showing

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")
SECONDS = 30_000.0
"""Milliseconds that a page may take for anything: the machine may be busy."""
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


@dataclass
class Stage:
    """Two members, `a` who buys and `b` who sells, and a browser."""

    a: Side
    b: Side
    world: FakeWorld
    browser: Browser
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def person(
        self, side: Side, name: str = "anna", scheme: Literal["light", "dark"] = "light", **more: Any
    ) -> Page:
        """Somebody with a browser of their own, who has logged in."""
        page = await (await self.context(scheme, **more)).new_page()
        await page.goto(side.service.local_url)
        await page.fill("input[name=name]", name)
        await page.fill("input[name=password]", PASSWORD)
        await page.press("input[name=password]", "Enter")
        await page.wait_for_selector("nav.nav")
        return page

    async def context(self, scheme: Literal["light", "dark"] = "light", **more: Any) -> BrowserContext:
        """A browser of nobody yet."""
        more.setdefault("viewport", {"width": 1280, "height": 900})
        context = await self.browser.new_context(color_scheme=scheme, **more)
        context.set_default_timeout(SECONDS)
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        return context

    def strangers(self) -> set[str]:
        """Hosts that were asked for something and are not ours."""
        ours = {urlsplit(side.service.local_url).netloc for side in (self.a, self.b)}
        return {urlsplit(url).netloc for url in self.requests} - ours


@asynccontextmanager
async def stage(tmp_path: Path, world: FakeWorld) -> AsyncIterator[Stage]:
    """All of it; at the end nothing has been asked of others, and nobody has complained."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    async with showing(tmp_path, world) as (a, b), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, *quiet])
        set_ = Stage(a, b, world, browser)
        try:
            yield set_
        finally:
            await browser.close()
        assert not set_.strangers()
        assert not set_.complaints


async def accessible(page: Page) -> None:
    """Raise with what axe has found."""
    found = await Axe().run(page, options=RULES)
    assert not found.response["violations"], found.generate_report()
