"""Take the pictures of the web page that the README shows: `python scripts/screenshots.py` writes docs/images.

Two catalog servers with made-up services, over made-up circuits; a browser in front of them (Debian's Chromium).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from base64 import b64decode
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.async_api import Page  # noqa: E402
from tests.browser.chrome import Stage, stage  # noqa: E402
from tests.catalog.web.showcase import WAYS, world  # noqa: E402

from meetme.catalog.words import What  # noqa: E402

IMAGES = ROOT / "docs" / "images"
Scheme = Literal["light", "dark"]


async def main() -> None:
    """All pictures, light and dark."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder), world()) as set_:
            for scheme in ("light", "dark"):
                await _take(set_, scheme)


async def _take(set_: Stage, scheme: Scheme) -> None:
    page = await set_.person(set_.a, scheme=scheme, viewport={"width": 1200, "height": 860}, reduced_motion="reduce")
    await _shot(page, "catalogue", scheme)
    await page.get_by_role("link", name="Backup vault").click()
    await page.check(f"input[value='{WAYS.ways[0].id}']")
    await page.evaluate("document.activeElement.blur()")
    await _shot(page, "offer", scheme)
    set_.world.held.add(What.NEGOTIATION)
    await page.get_by_role("button", name="Order", exact=True).click()
    await page.wait_for_selector("#step-negotiate.now")
    await _shot(page, "order", scheme)
    set_.world.held.clear()
    await page.wait_for_selector(".state .pill.good")
    await page.wait_for_selector("svg.federation")
    await page.mouse.move(0, 0)
    await _shot(page, "connection", scheme, whole=True)
    await page.context.close()


async def _shot(page: Page, name: str, scheme: Scheme, *, whole: bool = False) -> None:
    """As WebP, which Playwright itself does not write."""
    asked: dict[str, object] = {"format": "webp", "quality": 80}
    if whole:
        height = await page.evaluate("document.documentElement.scrollHeight")
        asked["clip"] = {"x": 0, "y": 0, "width": 1200, "height": height, "scale": 1}
        asked["captureBeyondViewport"] = True
    session = await page.context.new_cdp_session(page)
    picture = b64decode((await session.send("Page.captureScreenshot", asked))["data"])
    file = f"{name}-{scheme}.webp"
    (IMAGES / file).write_bytes(picture)
    print(f"docs/images/{file} {len(picture) // 1024} KiB")


if __name__ == "__main__":
    asyncio.run(main())
