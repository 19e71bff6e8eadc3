"""The pages without a browser: who may, what is escaped, what goes with every answer, what forms without script do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from meetme.catalog import accounts_store
from meetme.catalog.accounts import Role
from meetme.catalog.fake import FakeUnderlay, FakeWorld, Trouble
from meetme.catalog.service import CatalogService
from meetme.catalog.settings import CatalogSettings
from meetme.catalog.web import sessions, sessions_store
from meetme.catalog.web.site import HEADERS
from meetme.catalog.words import State, What
from meetme.model.agreement import MemberId
from meetme.runtime.clock import SystemClock
from meetme.runtime.tokens import Tokens
from tests.catalog.test_service import Side
from tests.catalog.web.showcase import PASSWORD, showing, world

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' {{ 7 * 7 }}"
NASTY = f"""
[[offer]]
name = "evil"
title = '''{EVIL[:110]}'''
category = '''{EVIL[:38]}'''
location = '''{EVIL[:100]}'''
description = '''{EVIL}'''
connectivity = "none"
instructions = '''{EVIL}'''
tags = ['''{EVIL[:40]}''']
approval = true
"""
PAGES = ("/", "/orders", "/approvals", "/offers/csp-b/backup", "/?q=a&page=2&sort=luck&max_price=x&connectivity=l9")


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)


class Browser:
    """What a browser without script does: cookies, forms, redirections."""

    def __init__(self, side: Side) -> None:
        self.http = httpx2.AsyncClient(base_url=side.service.local_url, trust_env=False, follow_redirects=True)
        self.page = ""

    async def get(self, path: str) -> httpx2.Response:
        answer = await self.http.get(path)
        self.page = answer.text
        return answer

    async def send(self, action: str, **fields: str) -> httpx2.Response:
        """Fill in and send the form of the last page that goes there."""
        form = next(f for f in re.findall(r"<form.*?</form>", self.page, re.S) if f'action="{action}"' in f)
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form))
        answer = await self.http.post(action, data=hidden | fields)
        self.page = answer.text
        return answer

    async def log_in(self, name: str, password: str = PASSWORD) -> httpx2.Response:
        await self.get("/login")
        return await self.send("/login", name=name, password=password)


@asynccontextmanager
async def browsing(
    tmp_path: Path, name: str = "anna", shared: FakeWorld | None = None, offers: str | None = None
) -> AsyncIterator[tuple[Browser, Side, Side]]:
    async with showing(tmp_path, shared or world(), offers) as (a, b):
        browser = Browser(a)
        try:
            assert (await browser.log_in(name)).status_code == 200
            yield browser, a, b
        finally:
            await browser.http.aclose()


async def until(browser: Browser, path: str, text: str) -> None:
    """Load it anew, as the page without script does, until it says so."""
    async with asyncio.timeout(15):
        while text not in (await browser.get(path)).text:  # noqa: ASYNC110 - as a person would
            await asyncio.sleep(0.02)


async def test_an_order_from_search_to_end_without_script(tmp_path: Path) -> None:
    shared = world()
    async with browsing(tmp_path, shared=shared) as (browser, _, b):
        found = (await browser.get("/?q=vault")).text
        assert ("Backup vault" in found, "Cold archive" in found) == (True, False)
        offer = (await browser.get("/offers/csp-b/backup")).text
        assert "21.6 ms" in offer
        assert re.search(r"ix-fra\s*<span class=\"land\">DE", offer)
        shared.held.add(What.NEGOTIATION)
        placed = await browser.send("/orders", way="00000000-0000-0000-0000-000000000002")
        path = placed.url.path
        await until(browser, path, "Agreeing on addresses")
        assert '<noscript><meta http-equiv="refresh"' in browser.page, "it loads itself anew while something happens"
        shared.held.clear()
        await until(browser, path, "172.16.0.10")
        for text in ("Packets reach the service", "15.21", "100.64.8.0/24", "192.0.2.1/31", 'class="federation"'):
            assert text in browser.page
        assert 'http-equiv="refresh"' not in browser.page
        (circuit,) = shared.circuits
        assert str(circuit) in path
        assert "csp-b" in (await browser.get("/orders")).text
        await browser.get(path)
        await browser.send(f"{path}/terminate")
        await until(browser, path, "Nothing of it is left")
        assert "Terminate" not in browser.page
        async with asyncio.timeout(10):
            while (await b.client.order(path.rpartition("/")[2])).state is not State.TERMINATED:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert shared.empty


async def test_a_login_holds_at_another_replica_and_ends_at_both(tmp_path: Path) -> None:
    """And so after a restart: what a session is, is in the database alone."""
    shared = world()
    async with browsing(tmp_path, shared=shared) as (browser, a, _):
        second = CatalogService(
            CatalogSettings(listen="127.0.0.1:0"),
            identity=a.identity,
            roster=lambda: a.service._trust.roster,
            tokens=Tokens.of({}),
            database=a.database,
            clock=SystemClock(),
            underlay=FakeUnderlay(shared, MemberId("csp-a")),
        )
        await second.start()
        try:
            first, browser.http.base_url = browser.http.base_url, httpx2.URL(second.local_url)
            page = await browser.get("/approvals")
            assert (page.url.path, page.url.port) == ("/approvals", httpx2.URL(second.local_url).port)
            assert (await browser.send("/logout")).url.path == "/login", "a form of one is taken by the other"
            browser.http.base_url = first
            assert (await browser.get("/orders")).url.path == "/login"
        finally:
            await second.close()


async def test_whoever_is_not_known_sees_the_login_and_comes_back(tmp_path: Path) -> None:
    async with showing(tmp_path, world()) as (a, _):
        browser = Browser(a)
        answer = await browser.get("/orders?x=1")
        assert (answer.url.path, answer.url.query) == ("/login", b"next=%2Forders%3Fx%3D1")
        assert "csp-b" not in answer.text
        wrong = await browser.send("/login", name="anna", password="wrong horse battery")
        assert wrong.status_code == 401
        assert "do not belong together" in wrong.text
        assert (await browser.send("/login", name=" Anna ", password=PASSWORD)).url.path == "/orders"
        await browser.get("/")
        assert (await browser.send("/logout")).url.path == "/login"
        assert (await browser.get("/")).url.path == "/login"
        for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/login"):
            page = (await browser.get(f"/login?next={target}")).text
            assert 'name="next" value="/"' in page, target
        from_elsewhere = await browser.http.get("/orders?a=b", headers={"sec-fetch-site": "cross-site"})
        assert 'content="0;url=/orders?a=b"' in from_elsewhere.text, "a strict cookie comes with the second request"
        await browser.http.aclose()


@pytest.mark.slow
async def test_where_there_is_no_account_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    async with showing(tmp_path, world()) as (a, _):
        browser = Browser(a)
        assert "meetme account add" not in (await browser.get("/")).text
        for name in ("anna", "rene", "olga"):
            await a.database.run(lambda tx, n=name: accounts_store.remove(tx, n, 1.0))
        assert "meetme account add NAME --role order" in (await browser.get("/")).text
        await browser.http.aclose()


async def test_a_cookie_that_no_script_and_no_other_site_gets(tmp_path: Path) -> None:
    async with showing(tmp_path, world()) as (a, _):
        browser = Browser(a)
        before = (await browser.get("/login")).headers["set-cookie"]
        answer = await browser.http.post("/login", data={"name": "anna"}, follow_redirects=False)
        assert answer.status_code == 403
        browser.http.follow_redirects = False
        cookie = (await browser.send("/login", name="anna", password=PASSWORD)).headers["set-cookie"]
        assert cookie.split(";")[0] != before.split(";")[0], "the secret of before the login is worth nothing after it"
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
        secret = cookie.partition("=")[2].partition(";")[0]
        rows = await a.database.run(lambda tx: [row.id for row in tx.execute(sessions_store.SESSION.select())])
        assert rows == [sessions.hash_of(secret)], "the database cannot tell the secret"
        await browser.http.aclose()


async def test_forms_of_other_sites_do_nothing(tmp_path: Path) -> None:
    async with browsing(tmp_path) as (browser, a, _):
        await browser.get("/offers/csp-b/backup")
        word = re.search(r'name="form" value="([^"]+)"', browser.page)
        assert word is not None
        good = {"offer": "csp-b/backup", "form": word[1]}
        for fields, headers in (
            ({**good, "form": "0" * 64}, {}),
            ({"offer": "csp-b/backup"}, {}),
            (good, {"sec-fetch-site": "cross-site"}),
            (good, {"sec-fetch-site": "same-site"}),
            (good, {"origin": "https://evil.example"}),
            (good, {"origin": "null"}),
            (good, {"origin": "http://["}),
            (good, {"origin": "null", "host": ""}),
        ):
            for path in ("/orders", f"/orders/{uuid4()}/terminate", f"/orders/{uuid4()}/approve", "/logout"):
                answer = await browser.http.post(path, data=fields, headers=headers)
                assert answer.status_code == 403, (path, fields, headers)
                assert "form_foreign" in answer.text
        sent = await browser.http.post("/orders", json=good)
        assert sent.status_code == 422
        assert await a.client.orders() == []
        host = browser.http.base_url.netloc.decode()
        own = {"origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        assert (await browser.http.post("/orders", data=good, headers=own)).status_code == 200
        assert len(await a.client.orders()) == 1


@pytest.mark.slow
async def test_who_may_only_look_is_offered_nothing_and_gets_nothing(tmp_path: Path) -> None:
    async with browsing(tmp_path, "rene") as (browser, a, b):
        page = (await browser.get("/offers/csp-b/backup")).text
        assert 'type="submit">Order<' not in page
        assert "meetme account roles rene --role order" in page
        refused = await browser.send("/orders")
        assert refused.status_code == 403
        assert "role_missing" in refused.text
        placed = await a.client.place("csp-b/ledger")
        page = (await browser.get(f"/orders/{placed.id}")).text
        assert "/terminate" not in page
        olga = Browser(b)
        await olga.log_in("olga")
        await until(olga, "/approvals", str(placed.id))
        assert "/approve" not in olga.page
        word = re.search(r'name="form" value="([^"]+)"', olga.page)
        assert word is not None
        for verb in ("approve", "decline"):
            refused = await olga.http.post(f"/orders/{placed.id}/{verb}", data={"form": word[1]})
            assert (refused.status_code, "role_missing" in refused.text) == (403, True)
        assert (await b.client.order(placed.id)).state is State.APPROVING
        await olga.http.aclose()


@pytest.mark.slow
async def test_a_person_declines_and_the_buyer_reads_why(tmp_path: Path) -> None:
    async with browsing(tmp_path) as (browser, _, b):
        await browser.get("/offers/csp-b/ledger")
        path = (await browser.send("/orders")).url.path
        await until(browser, path, "Waiting for approval")
        seller = Browser(b)
        await seller.log_in("anna")
        await until(seller, "/approvals", "csp-a wants")
        assert '<span class="count">1' in seller.page
        declined = await seller.send(f"{path}/decline", why="We are <b>full</b>")
        assert "Declined" in declined.text
        assert (await seller.http.post(f"{path}/decline", data={"why": "x"})).status_code == 403
        await until(browser, path, "We are &lt;b&gt;full&lt;/b&gt;")
        assert (await b.client.order(path.rpartition("/")[2])).decided_by == "anna"
        await seller.http.aclose()


@pytest.mark.slow
async def test_a_failure_says_what_why_and_what_was_undone(tmp_path: Path) -> None:
    shared = world()
    shared.trouble[MemberId("csp-a")] = Trouble.SERVICE_SILENT
    async with browsing(tmp_path, shared=shared) as (browser, _, _b):
        await browser.get("/offers/csp-b/backup")
        path = (await browser.send("/orders")).url.path
        await until(browser, path, "Nothing of it is left")
        for text in (
            "must answer at its address",
            "service_unanswered",
            "The agreement about addresses",
            "Order it again",
        ):
            assert text in browser.page, text
        assert re.search(r"step broke\" id=\"step-verify", browser.page)


async def test_what_others_write_is_only_text(tmp_path: Path) -> None:
    async with browsing(tmp_path, offers=NASTY) as (browser, _, b):
        for path in (
            "/",
            "/?q=script",
            "/offers/csp-b/evil",
            f"/?q={EVIL}&category={EVIL}&max_price={EVIL}",
            f"/{EVIL}",
        ):
            page = (await browser.get(path)).text
            assert "<script>alert" not in page
            assert "<img" not in page
        assert "&lt;script&gt;alert(1)" in (await browser.get("/offers/csp-b/evil")).text
        assert "{{ 7 * 7 }}" in browser.page, "it is no template either"
        order = await browser.send("/orders")
        await until(browser, order.url.path, "Waiting for approval")
        assert "<script>alert" not in browser.page
        stream = Browser(b)
        await stream.log_in("anna")
        await until(stream, "/approvals", "csp-a wants")
        assert "<script>alert" not in stream.page
        await stream.http.aclose()


async def test_every_answer_is_dressed_against_misuse(tmp_path: Path) -> None:
    async with browsing(tmp_path) as (browser, _, _b):
        for path in (*PAGES, "/nothing", "/login", "/static/nothing.js", f"/orders/{uuid4()}", "/orders/x"):
            answer = await browser.get(path)
            for name, value in HEADERS.items():
                assert answer.headers[name] == value, (path, name)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-type"].startswith("text/html"), path
            assert not re.search(r"<script>|<style|\sstyle=|\son[a-z]+=|https?://(?!www\.w3\.org)", answer.text), path
        assert "unsafe" not in HEADERS["content-security-policy"]
        for name in re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.page):
            asset = await browser.http.get(name, headers={"accept-encoding": "gzip"})
            assert asset.status_code == 200
            assert "immutable" in asset.headers["cache-control"]
            assert asset.headers["content-security-policy"] == HEADERS["content-security-policy"]


@pytest.mark.slow
async def test_what_is_no_page_is_said_in_words(tmp_path: Path) -> None:
    async with browsing(tmp_path) as (browser, _, _b):
        for path, status, code in (
            ("/nothing", 404, "page_unknown"),
            ("/offers/csp-b/none", 404, "offer_unknown"),
            (f"/orders/{uuid4()}", 404, "order_unknown"),
            ("/orders/x", 404, "order_unknown"),
            ("/orders/x/live", 404, "order_unknown"),
            ("/logout", 405, "method_unknown"),
        ):
            answer = await browser.get(path)
            assert (answer.status_code, code in answer.text) == (status, True), path
            assert "Traceback" not in answer.text
        await browser.get("/offers/csp-b/backup")
        for fields in ({"offer": "x"}, {"way": "x"}, {"redundancy": "triple"}, {"offer": "csp-a/x"}):
            await browser.get("/offers/csp-b/backup")
            assert (await browser.send("/orders", **fields)).status_code == 422, fields
        assert (await browser.http.get("/api/v1/offers")).headers["content-type"] == "application/problem+json"
        assert (await browser.http.get("/api/v1/nothing")).headers["content-type"] == "application/problem+json"


@pytest.mark.slow
async def test_nobody_tries_passwords_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with showing(tmp_path, world()) as (a, _):
        browser = Browser(a)
        for _try in range(sessions.MOST_TOGETHER):
            assert (await browser.log_in("anna", "wrong horse battery")).status_code == 401
        locked = await browser.log_in("anna")
        assert locked.status_code == 429, "the right one does not help either"
        assert "meetme account password" in locked.text
        assert (await browser.log_in("rene")).status_code == 200, "others are not kept out"
        monkeypatch.setattr(sessions, "WINDOW_SECONDS", 0.0)
        browser.http.cookies.clear()
        assert (await browser.log_in("anna")).status_code == 200
        await browser.http.aclose()


@pytest.mark.slow
async def test_a_session_ends_with_time_and_with_its_account(tmp_path: Path) -> None:
    async with browsing(tmp_path) as (browser, a, _):
        now = SystemClock().now()

        await a.database.run(lambda tx: tx.execute(sessions_store.SESSION.update().values(seen=now - 600)))
        await browser.http.get("/orders", headers={"hx-request": "true"})
        seen = await a.database.run(lambda tx: tx.execute(sessions_store.SESSION.select()).one().seen)
        assert seen == now - 600, "what a page asks by itself keeps no session alive"

        async def changed(**values: float) -> str:
            await a.database.run(lambda tx: tx.execute(sessions_store.SESSION.update().values(values)))
            return (await browser.get("/")).url.path

        assert await changed(seen=now - sessions.IDLE_SECONDS + 60) == "/"
        assert await changed(seen=now - sessions.IDLE_SECONDS - 1) == "/login"
        await browser.log_in("anna")
        assert await changed(begun=now - sessions.LONGEST_SECONDS - 1, seen=now) == "/login"
        await browser.log_in("anna")
        await a.database.run(lambda tx: accounts_store.set_roles(tx, "anna", [Role.READ], now))
        assert (await browser.get("/")).url.path == "/login", "with another role one logs in anew"
