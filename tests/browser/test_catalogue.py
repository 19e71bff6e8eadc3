"""What a person does with the catalogue, in a browser, against two members' servers that speak mutual TLS."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import pytest
from playwright.async_api import Page, expect

from meetme.catalog.fake import Trouble
from meetme.catalog.words import What
from meetme.model.agreement import MemberId
from tests.browser.chrome import SECONDS, Stage, accessible, needs_chromium, stage
from tests.catalog.web.showcase import world

pytestmark = [pytest.mark.browser, needs_chromium, pytest.mark.timeout(300)]
expect.set_options(timeout=SECONDS)


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)


async def order(page: Page, name: str = "backup") -> str:
    """From its page; where that leads."""
    await page.goto(re.sub(r"^(https?://[^/]+).*", rf"\1/offers/csp-b/{name}", page.url))
    await page.get_by_role("button", name="Order", exact=True).click()
    await page.wait_for_url("**/orders/*")
    return page.url


async def test_search_compare_order_watch_use_and_terminate(tmp_path: Path) -> None:
    async with stage(tmp_path, world()) as set_:
        page = await set_.person(set_.a)
        await page.get_by_role("searchbox", name="Search for").press_sequentially("vault")
        await expect(page.locator(".card")).to_have_count(1)
        assert "q=vault" in page.url, "the address is that of what is seen"
        await page.get_by_role("link", name="Backup vault").click()
        await expect(page.locator(".way")).to_have_count(1 + len(set_.world.ways.ways))
        await page.check(f"input[value='{UUID(int=2)}']")
        set_.world.held.add(What.NEGOTIATION)
        await page.get_by_role("button", name="Order", exact=True).click()
        await expect(page.locator("#step-negotiate")).to_have_attribute("aria-current", "step")
        await accessible(page)
        set_.world.held.clear()
        await expect(page.locator(".state")).to_have_text("Active")
        await expect(page.locator("#address")).to_have_text("172.16.0.10")
        await expect(page.locator("svg.federation .exchange.way")).to_have_count(5)
        await expect(page.locator("#connection")).to_contain_text("15.21")
        await accessible(page)
        (placed,) = await set_.a.client.orders()
        assert str(placed.id) in page.url
        await page.get_by_text("Terminate …").click()
        await page.get_by_role("button", name="Terminate it").click()
        await expect(page.locator(".state")).to_have_text("Ended")
        await expect(page.get_by_text("Nothing of it is left at our side.")).to_be_visible()
        assert set_.world.empty


@pytest.mark.slow
async def test_a_failing_exchange_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path, world()) as set_:
        set_.world.trouble[MemberId("csp-a")] = Trouble.CIRCUIT_FAILS
        page = await set_.person(set_.a)
        await order(page)
        await expect(page.locator(".state")).to_have_text("Failed")
        await expect(page.locator(".trouble")).to_contain_text("an exchange has failed")
        await expect(page.locator("#step-link")).to_have_class(re.compile("broke"))
        await expect(page.locator("#undo-circuit")).to_contain_text("gone")
        assert set_.world.empty
        await accessible(page)


@pytest.mark.slow
async def test_a_declined_approval_is_seen_by_both_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path, world()) as set_:
        buyer, seller = await set_.person(set_.a), await set_.person(set_.b)
        await order(buyer, "ledger")
        await expect(buyer.locator(".state")).to_have_text("Waiting for approval")
        await accessible(buyer)
        await seller.get_by_role("link", name="Approvals").click()
        await seller.get_by_text("Decline …").click()
        await accessible(seller)
        await seller.get_by_label("Why? csp-a reads it.").fill("The cluster is full until May.")
        await seller.get_by_role("button", name="Decline it").click()
        await expect(seller.locator(".state")).to_have_text("Declined")
        await expect(buyer.locator(".state")).to_have_text("Declined")
        await expect(buyer.locator(".trouble")).to_contain_text("full until May")
        await order(buyer, "ledger")
        await seller.goto(f"{set_.b.service.local_url}/approvals")
        await seller.get_by_role("button", name="Approve").click()
        await expect(buyer.locator(".state")).to_have_text("Active")


@pytest.mark.slow
async def test_a_reload_in_the_middle_and_two_browsers_see_one_order(tmp_path: Path) -> None:
    async with stage(tmp_path, world()) as set_:
        set_.world.held.add(What.NEGOTIATION)
        one, other = await set_.person(set_.a), await set_.person(set_.a, "olga")
        url = await order(one)
        await expect(one.locator("#step-negotiate")).to_have_attribute("aria-current", "step")
        await other.goto(url)
        await one.reload()
        await expect(one.locator("#step-negotiate")).to_have_attribute("aria-current", "step")
        set_.world.held.clear()
        for page in (one, other):
            await expect(page.locator(".state")).to_have_text("Active")
        assert len(set_.world.circuits) == 1
        await other.get_by_text("Terminate …").click()
        await other.get_by_role("button", name="Terminate it").click()
        await expect(one.locator(".state")).to_have_text("Ended")
        await one.go_back()
        await one.go_forward()
        await expect(one.locator(".state")).to_have_text("Ended")


@pytest.mark.slow
async def test_with_the_keyboard_alone(tmp_path: Path) -> None:
    async with stage(tmp_path, world()) as set_:
        page = await set_.person(set_.a)

        async def tab_to(text: str) -> None:
            for _step in range(60):
                await page.keyboard.press("Tab")
                focused = await page.evaluate(
                    "() => { const e = document.activeElement;"
                    " const s = getComputedStyle(e.closest('.card, .way') ?? e);"
                    " return [(e.innerText || e.value || e.name || '').trim(), s.outlineStyle, s.outlineWidth] }"
                )
                assert focused[1] != "none", f"{focused[0]} shows no focus"
                if text in focused[0]:
                    return
            raise AssertionError(text)

        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        await page.keyboard.press("Enter")
        await tab_to("Backup vault")
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".ways")
        await tab_to("Order")
        await page.keyboard.press("Enter")
        await expect(page.locator(".state")).to_have_text("Active")
        await tab_to("Terminate …")
        await page.keyboard.press("Enter")
        await tab_to("Terminate it")
        await page.keyboard.press("Enter")
        await expect(page.locator(".state")).to_have_text("Ended")


async def _every_page(set_: Stage, page: Page) -> None:
    base = set_.a.service.local_url
    for path in (
        "/",
        "/?q=nothing+has+this",
        "/offers/csp-b/backup",
        "/offers/csp-b/dns",
        "/orders",
        "/approvals",
        "/x",
    ):
        await page.goto(base + path)
        await accessible(page)
    stranger = await (await page.context.browser.new_context(color_scheme="dark")).new_page()  # type: ignore[union-attr]
    await stranger.goto(base)
    await accessible(stranger)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible(tmp_path: Path, scheme: str) -> None:
    async with stage(tmp_path, world()) as set_:
        for width in (1280, 390):
            page = await set_.person(set_.a, scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
            await order(page)
            await expect(page.locator("svg.federation")).to_be_visible()
            await accessible(page)
            await _every_page(set_, page)
            wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, "nothing is wider than the window"
        set_.complaints = [said for said in set_.complaints if "404" not in said]


@pytest.mark.slow
async def test_pages_are_light(tmp_path: Path) -> None:
    async with stage(tmp_path, world()) as set_:
        page = await (await set_.context()).new_page()
        session = await page.context.new_cdp_session(page)
        await session.send("Network.enable")
        sizes: list[float] = []
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        await page.goto(f"{set_.a.service.local_url}/login")
        await page.fill("input[name=name]", "anna")
        await page.fill("input[name=password]", "correct horse battery")
        sizes.clear()
        await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_selector(".card")
        await page.wait_for_load_state("networkidle")
        ready = await page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
        print(f"catalogue: {sum(sizes):.0f} octets over the wire, interactive after {ready:.0f} ms")
        assert sum(sizes) < 60_000
