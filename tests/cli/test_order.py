"""`meetme catalog`, `order` and `orders`: what people see, what programs read, and how it ends."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import pytest
from click.shell_completion import ShellComplete

from meetme.catalog import client as catalog_client
from meetme.catalog.fake import FakeWorld, Trouble
from meetme.catalog.offers import OfferEnd
from meetme.catalog.stray_views import Made
from meetme.catalog.views import OrderView
from meetme.catalog.ways import Way, Ways
from meetme.catalog.words import State, What
from meetme.cli.main import cli, run
from meetme.composer.views import HopView, OfferView, RefusalView
from meetme.model.agreement import MemberId
from meetme.runtime.api_client import Patience
from tests.catalog.test_offers_file import FILE
from tests.catalog.test_service import TOKEN, Side, servers

GOLDEN = Path(__file__).parents[1] / "golden/cli"
UUIDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def way(number: int, latency: float, *exchanges: str) -> Way:
    path = tuple(HopView(MemberId(name), "in", "out") for name in exchanges)
    return Way(
        MemberId(exchanges[0]),
        "p1",
        OfferEnd(MemberId(exchanges[-1]), "p3"),
        OfferView(
            UUID(int=number), datetime(2100, 1, 1, tzinfo=UTC), path, latency, 1000, len(path), 40.5, 9000, 0.999
        ),
    )


WAYS = Ways((way(1, 3.5, "ixp-1", "ixp-2"), way(2, 7.25, "ixp-1", "ixp-3", "ixp-2")))


class People:
    """Somebody at each of two members."""

    def __init__(self, a: Side, b: Side, world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
        self.a, self.b, self.world, self.capsys = a, b, world, capsys
        self.over: str | None = None
        """The way that they take, if not straight to the server."""

    async def __call__(self, *arguments: str, at: str = "a", status: int = 0) -> tuple[str, str]:
        """Run a verb; what it said to stdout and stderr, without what the servers log."""
        side = self.a if at == "a" else self.b
        self.capsys.readouterr()
        url = self.over or side.service.local_url
        done = await asyncio.to_thread(run, [*arguments, "--url", url, "--token", TOKEN])
        said = self.capsys.readouterr()
        out = "\n".join(line for line in said.out.splitlines() if not re.match(r"\S*\d{4}-\d\d-\d\d[T ].*\[", line))
        assert done == status, f"{arguments}: {done}\n{said.out}\n{said.err}"
        return out, said.err

    async def json(self, *arguments: str, at: str = "a", status: int = 0) -> Any:
        out, _ = await self(*arguments, "--format", "json", at=at, status=status)
        begin = min(place for mark in ("{\n", "[\n", "[]") if (place := out.find(mark)) >= 0)
        return json.JSONDecoder().raw_decode(out, begin)[0]


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    # What the servers log is not what the verbs say.
    monkeypatch.setattr("structlog.PrintLogger.msg", lambda *_: None)
    for level in ("info", "warning", "error", "debug"):
        monkeypatch.setattr(f"structlog.PrintLogger.{level}", lambda *_: None)


@asynccontextmanager
async def people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[People]:
    world = FakeWorld(ways=WAYS)
    async with servers(tmp_path, world) as (a, b):
        yield People(a, b, world, capsys)


def golden(name: str, *said: str) -> None:
    """What was said is what the file has: ids and times apart."""
    text = "\n".join(said)
    text = UUIDS.sub(lambda found: found[0] if found[0].startswith("00000000") else "<id>", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "<time>", text)
    text = re.sub(r" *\d+\.\d{3}", " <s>", text)
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    path = GOLDEN / f"{name}.txt"
    assert text == path.read_text(encoding="utf-8"), text


async def test_the_catalogue_as_people_see_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with people(tmp_path, capsys) as meetme:
        golden("catalog_list", (await meetme("catalog", "list"))[0])
        golden("catalog_show", (await meetme("catalog", "show", "csp-b/backup"))[0])
        golden("catalog_show_none", (await meetme("catalog", "show", "csp-b/page"))[0])
        out, err = await meetme("catalog", "search", "nothing like it")
        assert (out, "meetme catalog list" in err) == ("", True)
        found = await meetme.json("catalog", "search", "VAULT", "--category", "storage")
        assert ([each["id"] for each in found["offers"]], found["total"]) == (["csp-b/backup"], 1)
        assert (await meetme.json("catalog", "list", "--mine"))["total"] == 0
        assert (await meetme.json("catalog", "list", "--mine", at="b"))["total"] == 2
        assert "1 of 2" in (await meetme("catalog", "list", "--size", "1"))[1]
        shown = await meetme.json("catalog", "show", "csp-b/backup")
        assert [each["circuit"]["id"] for each in shown["ways"]["ways"]] == [str(w.id) for w in WAYS.ways]
        meetme.world.ways = Ways((), (RefusalView("max_latency_ms", 1, 3.5),))
        out, err = await meetme("catalog", "show", "csp-b/backup")
        assert ("there is no way to it" in err, "max_latency_ms 1: 3.5 would do" in err) == (True, True)
        for arguments, status, said in (
            (("show", "csp-b/none"), 2, "offer_unknown"),
            (("show", "backup"), 2, "PROVIDER/NAME"),
            (("search",), 2, "Missing argument"),
            (("list", "--size", "0"), 2, "size"),
        ):
            assert said in (await meetme("catalog", *arguments, status=status))[1]


async def test_offering_and_withdrawing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(FILE.replace('"Backup vault"', '"Bigger vault"').replace('name = "page"', 'name = "pages"'))
    async with people(tmp_path, capsys) as meetme:

        async def names() -> set[tuple[str, str]]:
            return {(each.offer.name, each.offer.title) for each in await meetme.b.client.own_offers()}

        before = await names()
        wanted = [{"name": "backup", "what": "changed"}, {"name": "pages", "what": "new"}]
        said = await meetme.json("catalog", "publish", str(file), "--dry-run", at="b")
        assert (said, await names()) == ({"changes": wanted, "dry_run": True}, before)
        out, _ = await meetme("catalog", "publish", str(file), at="b")
        assert out.split("\n")[:2] == ["backup: changed", "pages: new"]
        assert await names() == {("backup", "Bigger vault"), ("page", "A page"), ("pages", "A page")}
        assert "like that already" in (await meetme("catalog", "publish", str(file), at="b"))[1]
        out, _ = await meetme("catalog", "publish", str(file), "--only", at="b")
        assert out == "page: withdrawn"
        await meetme("catalog", "withdraw", "backup", at="b")
        assert await names() == {("pages", "A page")}
        (tmp_path / "one.json").write_text(json.dumps({"name": "one", "title": "One", "category": "web",
                                                       "connectivity": "none", "instructions": "call"}))  # fmt: skip
        await meetme("catalog", "publish", str(tmp_path / "one.json"), at="b")
        assert await names() == {("pages", "A page"), ("one", "One")}
        many = [{"name": f"n{n}", "title": "N", "category": "web", "connectivity": "none", "instructions": "call" * 150}
                for n in range(200)]  # fmt: skip
        (tmp_path / "many.json").write_text(json.dumps(many))
        assert (tmp_path / "many.json").stat().st_size > 128 * 1024, "more than other bodies may have"
        await meetme("catalog", "publish", str(tmp_path / "many.json"), at="b")
        assert len(await names()) == 202
        (tmp_path / "many.json").write_text(json.dumps([{**each, "instructions": "call" * 500} for each in many]))
        said = await meetme("catalog", "publish", str(tmp_path / "many.json"), at="b", status=2)
        assert "body_too_large" in said[1]
        await meetme("catalog", "publish", str(tmp_path / "one.json"), "--only", at="b")
        await meetme("catalog", "publish", str(file), at="b")
        await meetme("catalog", "withdraw", "backup", at="b")
        two = FILE.replace("A page", "").replace("category", "kategory", 1)
        file.write_text(two)
        _, said = await meetme("catalog", "publish", str(file), at="b", status=2)
        assert "offer[0].kategory" in said
        assert "offer[1].title" in said, "what is wrong in form, and what is wrong by the rules"
        for text, said in (
            (FILE.replace("A page", ""), "offer[1].title"),
            (FILE.replace("category", "kategory"), "offer_field_unknown"),
            ("offer = 1", "offers_malformed"),
        ):
            file.write_text(text)
            assert said in (await meetme("catalog", "publish", str(file), at="b", status=2))[1]
        assert await names() == {("pages", "A page"), ("one", "One")}
        assert "offer_unknown" in (await meetme("catalog", "withdraw", "backup", at="b", status=2))[1]
        assert "offers_missing" in (await meetme("catalog", "publish", "/nowhere.toml", at="b", status=2))[1]


async def test_from_an_offer_to_an_address_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with people(tmp_path, capsys) as meetme:
        golden("order_dry_run", *await meetme("order", "csp-b/backup", "--dry-run", "--way", "2"))
        said = await meetme.json("order", "csp-b/backup", "--dry-run", "--redundancy", "none")
        assert [each["circuit"]["id"] for each in said["ways"]] == [str(WAYS.ways[0].id)]
        assert (await meetme.json("order", "csp-b/page", "--dry-run"))["id"] == "csp-b/page"
        assert await meetme.json("orders", "--all") == []
        out, err = await meetme("order", "csp-b/backup", "--way", "2")
        golden("order", out, err)
        (bought,) = await meetme.json("orders", "--bought")
        assert (bought["state"], bought["offer"]) == ("active", "csp-b/backup")
        standing = meetme.a.database.run_now(lambda tx: catalog_order(tx, bought["id"]))
        assert standing.wanted.circuit_offer == WAYS.ways[1].id
        golden("orders", (await meetme("orders"))[0])
        assert (await meetme.json("orders", "--sold")) == []
        assert [each["id"] for each in await meetme.json("orders", "--sold", at="b")] == [bought["id"]]
        assert [each["id"] for each in await meetme.json("orders", "--with", "csp-b")] == [bought["id"]]
        assert await meetme.json("orders", "--with", "csp-c") == []
        assert await meetme.json("orders", "--state", "failed") == []
        out, _ = await meetme("order", "show", bought["id"][:8])
        assert "use it at 172.16.0.0/24" in out
        assert "order_active" in (await meetme("order", "cancel", "csp-b/backup", status=1))[1]
        out, _ = await meetme("order", "terminate", "csp-b/backup")
        assert out == f"{bought['id']} is terminated"
        assert meetme.world.empty
        assert await meetme.json("orders") == []
        assert [each["state"] for each in await meetme.json("orders", "--all")] == ["terminated"]


def catalog_order(tx: Any, id: str) -> Any:
    from meetme.catalog import store

    return store.load(tx, id)


def how_to(heading: str, language: str) -> list[str]:
    """The lines of each block of the page under a heading."""
    page = Path(__file__).parents[2] / "docs/how-to/offer-and-order-services.md"
    section = page.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


async def test_the_how_to_does_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with people(tmp_path, capsys) as meetme:
        (tmp_path / "offers.toml").write_text(how_to("Offer", "toml")[0])
        publish, decide = how_to("Offer", "sh")
        for line in publish.splitlines():
            await meetme(*line.split()[1:], at="b")
        async with asyncio.timeout(10):
            while not (await meetme.a.client.offer("csp-b", "backup")).offer.approval:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        look, order, after = how_to("Order", "sh")
        for line in look.splitlines():
            out, _ = await meetme(*line.split()[1:])
            assert "csp-b/backup" in out
        arguments = [*order.split()[1:], "--url", meetme.a.service.local_url, "--token", TOKEN]
        buying = asyncio.create_task(asyncio.to_thread(run, arguments))
        async with asyncio.timeout(10):
            while not (waiting := await undecided(meetme.b)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        for line in decide.splitlines():
            await meetme(*line.replace("ORDER", str(waiting[0].id)).split()[1:], at="b")
        assert await buying == 0
        for line in after.splitlines():
            out, _ = await meetme(*line.split()[1:])
            assert str(waiting[0].id) in out
        assert meetme.world.empty


async def undecided(seller: Side) -> list[OrderView]:
    return [order for order in await seller.client.orders() if order.state is State.APPROVING]


async def test_a_person_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with people(tmp_path, capsys) as meetme:
        for verb, words, status, state in (
            (("approve",), "is approved", 0, "active"),
            (("decline", "--why", "no room"), "is declined", 3, "declined"),
        ):
            buying = asyncio.create_task(
                asyncio.to_thread(run, ["order", "csp-b/page", "--url", meetme.a.service.local_url, "--token", TOKEN])
            )
            async with asyncio.timeout(10):
                while not (waiting := await undecided(meetme.b)):  # noqa: ASYNC110 - it is in a database
                    await asyncio.sleep(0.02)
                # Nobody decides before the buyer has read that somebody has to.
                told = ""
                while "a person at csp-b decides, until" not in told:
                    await asyncio.sleep(0.02)
                    told += capsys.readouterr().err
            id = str(waiting[0].id)
            done = await asyncio.to_thread(
                run, ["order", verb[0], id[:8], *verb[1:], "--by", "ada", "--url", meetme.b.service.local_url,
                      "--token", TOKEN],
            )  # fmt: skip
            assert (done, await buying) == (0, status)
            said = capsys.readouterr()
            assert f"{id} {words}" in said.out
            assert ("https://b.example" in said.out) == (status == 0)
            assert ("no room" in said.err) == (status == 3)
            assert (await meetme.a.client.order(id)).state.value == state
            assert "order_decided" in (await meetme("order", "approve", id, at="b", status=1))[1]
        assert "decided by ada" in (await meetme("order", "show", id, at="b"))[0]
        assert await meetme.json("orders", "--waiting", at="b") == []


async def test_what_fails_says_why_and_what_was_taken_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with people(tmp_path, capsys) as meetme:
        meetme.world.trouble[MemberId("csp-a")] = Trouble.CIRCUIT_FAILS
        golden("order_failed", *await meetme("order", "csp-b/backup", status=1))
        assert meetme.world.empty
        for arguments, status, said in (
            (("csp-b/none",), 2, "offer_unknown"),
            (("backup",), 2, "PROVIDER/NAME"),
            (("csp-b/backup", "--way", "3"), 2, "must be one of 1 to 2"),
            (("csp-b/backup", "--way", "0"), 2, "--way"),
            (("csp-b/backup", "--way", "1", "--circuit-offer", str(UUID(int=1))), 2, "exclude each other"),
            (("csp-b/page", "--way", "1"), 2, "no connection is needed"),
            (("show", "0000"), 2, "order_unknown"),
            (("cancel", "csp-b/backup"), 2, "order_unknown"),
            (("approve", str(UUID(int=7))), 2, "order_unknown"),
        ):
            assert said in (await meetme("order", *arguments, status=status))[1], arguments
        assert "--state" in (await meetme("orders", "--state", "asleep", status=2))[1]
        meetme.world.ways = Ways()
        assert "no_way" in (await meetme("order", "csp-b/backup", "--way", "1", status=3))[1]
        await meetme("order", "csp-b/backup", "--dry-run", status=3)
        assert len(await meetme.json("orders", "--all")) == 1, "nothing else was ordered"


async def test_whoever_looks_away_is_told_that_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from meetme.cli.order import _follow

    async with people(tmp_path, capsys) as meetme:
        meetme.world.held.add(What.CIRCUIT)
        placed = await meetme.a.client.place("csp-b/backup")
        watching = asyncio.create_task(_follow(meetme.a.client, placed, "table"))
        await meetme.a.until(placed.id, State.COMPOSING)
        await asyncio.sleep(0)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        assert f"meetme order cancel {placed.id}" in capsys.readouterr().err
        out, _ = await meetme("order", "cancel", str(placed.id))
        assert out == f"{placed.id} is cancelled"
        assert meetme.world.empty


async def test_who_watches_is_told_when_the_catalog_stays_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meetme.cli.watching.PATIENCE", Patience(0.3))
    monkeypatch.setattr("meetme.runtime.api_client.AGAIN_SECONDS", 0.1)
    async with people(tmp_path, capsys) as meetme:
        meetme.world.held.add(What.CIRCUIT)
        arguments = ["order", "csp-b/backup", "--url", meetme.a.service.local_url, "--token", TOKEN]
        watching = asyncio.create_task(asyncio.to_thread(run, arguments))
        async with asyncio.timeout(10):
            while not (placed := await meetme.a.client.orders()):  # noqa: ASYNC110 - it is in a database
                await asyncio.sleep(0.02)
        await meetme.a.until(placed[0].id, State.COMPOSING)
        await meetme.a.service.close()
        assert await watching == 4
        said = capsys.readouterr().err
        assert "the catalog does not answer; waiting for it" in said
        assert "[catalog_unreachable]" in said
        show = f"meetme order show {placed[0].id}"
        assert f"the order is kept, and goes on as soon as the catalog runs; how it stands: {show}" in said


async def test_strays_as_people_see_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with people(tmp_path, capsys) as meetme:
        assert "no strays" in (await meetme("order", "strays"))[1]
        circuits = [str(UUID(int=number)) for number in (1, 2)]
        whole = Made(circuits[0], UUID(int=9), MemberId("csp-b"), MemberId("ixp-1"), "active", "n", "active", True)
        meetme.world.strays = {each.circuit: each for each in (whole, Made(circuits[1], attached=True))}
        golden("order_strays", (await meetme("order", "strays"))[0])
        told = await meetme.json("order", "strays")
        assert [(each["made"]["circuit"], each["state"]) for each in told] == [(name, "unknown") for name in circuits]
        assert f"'{circuits[0]}' is gone" in (await meetme("order", "strays", "--remove", circuits[0]))[1]
        assert "stray_unknown" in (await meetme("order", "strays", "--remove", circuits[0], status=2))[1]
        assert [each["made"]["circuit"] for each in await meetme.json("order", "strays")] == circuits[1:]
        meetme.world.away.add(MemberId("csp-a"))
        assert "composer_unreachable" in (await meetme("order", "strays", status=4))[1]


async def test_what_is_typed_is_completed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with people(tmp_path, capsys) as meetme:

        async def completed(*line: str, at: Side = meetme.a) -> list[str]:
            monkeypatch.setenv("MEETME_URL", at.service.local_url)
            monkeypatch.setenv("MEETME_TOKEN", TOKEN)
            complete = ShellComplete(cli, {}, "meetme", "_MEETME_COMPLETE")
            found = await asyncio.to_thread(complete.get_completions, list(line[:-1]), line[-1])
            return [each.value for each in found]

        assert await completed("order", "csp-b/b") == ["csp-b/backup"]
        assert "terminate" in await completed("order", "")
        assert await completed("order", "place", "csp-b/p") == ["csp-b/page"]
        assert sorted(await completed("catalog", "show", "csp-b/")) == ["csp-b/backup", "csp-b/page"]
        assert await completed("catalog", "withdraw", "b", at=meetme.b) == ["backup"]
        await meetme("order", "csp-b/backup")
        (bought,) = await meetme.json("orders")
        assert await completed("order", "terminate", bought["id"][:5]) == [bought["id"]]
        monkeypatch.setattr(catalog_client.CatalogClient, "search", _broken)
        assert await completed("order", "place", "csp-b/p") == []


async def _broken(*_: Any, **__: Any) -> None:
    raise RuntimeError


def test_a_catalog_that_is_away_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["catalog", "list"], ["orders"], ["order", "csp-b/backup"], ["order", "show", "0000"]):
        assert run([*verb, "--url", "http://127.0.0.1:9", "--token", "x"]) == 4
        assert "meetme serve catalog" in capsys.readouterr().err


def test_an_offer_needs_no_verb_and_no_verb_is_taken_for_an_offer(capsys: pytest.CaptureFixture[str]) -> None:
    from meetme.cli.order import order

    assert isinstance(order, click.Group)
    assert set(order.commands) == {"place", "show", "cancel", "terminate", "approve", "decline", "strays"}
    assert run(["order"]) in (0, 2)
    assert "Usage: meetme order" in "".join(capsys.readouterr())
    assert run(["order", "--help"]) == 0
    assert "approve" in capsys.readouterr().out
