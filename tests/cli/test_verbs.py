"""The verbs that ask a running negotiator, as a person types them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import structlog

from meetme.cli.main import run
from meetme.cli.which import MemberName, NegotiationName
from tests.negotiator.pair import TOKEN, Side, pair


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The services run in this very process: what they log is not what a verb prints."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


async def meetme(side: Side, capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """Run a verb against `side`; what it printed: on stdout, or for another status than 0 on stderr."""
    capsys.readouterr()
    given = [*arguments, "--url", side.service.local_url, "--token", TOKEN]
    seen = await asyncio.to_thread(run, given)
    said = capsys.readouterr()
    assert seen == status, said.err
    return said.out if status == 0 else said.err


async def test_a_negotiation_is_meant_by_its_id_its_beginning_or_its_peer(capsys: pytest.CaptureFixture[str]) -> None:
    async with pair() as (a, b):

        async def told(*arguments: str) -> Any:
            return json.loads(await meetme(a, capsys, *arguments, "--format", "json"))

        first = (await told("negotiate", "csp-b"))["id"]
        for name in (first, first[:8], first[:4].upper(), "csp-b"):
            assert (await told("show", name))["id"] == first
        assert json.loads(await meetme(b, capsys, "show", "csp-a", "--format", "json"))["id"] == first
        assert (await told("terminate", first[:8]))["state"] == "terminated"
        assert "must be an id" in await meetme(a, capsys, "show", "csp-b", status=2)
        assert (await told("show", first[:8]))["state"] == "terminated", "what has ended is found by its id"
        assert "must be an id" in await meetme(a, capsys, "show", first[:3], status=2)
        assert "must be an id" in await meetme(a, capsys, "terminate", "csp-c", status=2)
        second = (await told("negotiate", "csp-b"))["id"]
        assert (await told("terminate", "csp-b"))["id"] == second


async def test_a_beginning_of_several_is_not_guessed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair() as (a, b):
        await meetme(a, capsys, "attachment", "set", "c1", "r1/eth2", "--peer", "csp-b")
        await meetme(b, capsys, "attachment", "set", "c1", "r1/eth2", "--peer", "csp-a")
        await meetme(a, capsys, "negotiate", "csp-b", "--no-wait")
        await meetme(a, capsys, "negotiate", "csp-b", "--circuit", "c1", "--no-wait")
        said = await meetme(a, capsys, "terminate", "csp-b", status=2)
        assert "negotiation_ambiguous" in said
        assert "write more of the id" in said


async def test_circuits_are_registered_listed_and_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    async with pair() as (a, _b):
        assert await meetme(a, capsys, "attachment", "list") == ""
        assert "c1 lands on r1/eth2" in await meetme(a, capsys, "attachment", "set", "c1", "r1/eth2", "--mtu", "1400")
        listed = json.loads(await meetme(a, capsys, "attachment", "list", "--format", "json"))
        assert listed == {"c1": {"router": "r1", "port": "eth2", "vlan": None, "mtu": 1400, "peer": None}}
        assert "r1" in await meetme(a, capsys, "attachment", "list")
        assert "ROUTER/PORT" in await meetme(a, capsys, "attachment", "set", "c2", "eth2", status=2)
        assert "router_unknown" in await meetme(a, capsys, "attachment", "set", "c2", "r9/eth2", status=2)
        assert "port_unknown" in await meetme(a, capsys, "attachment", "set", "c2", "r1/eth99", status=2)
        assert "c1 is forgotten" in await meetme(a, capsys, "attachment", "remove", "c1")
        assert "attachment_unknown" in await meetme(a, capsys, "attachment", "remove", "c1", status=2)


async def test_shells_complete_live_negotiations(capsys: pytest.CaptureFixture[str]) -> None:
    async with pair() as (a, _b):
        started = json.loads(await meetme(a, capsys, "negotiate", "csp-b", "--format", "json"))
        context = click.Context(click.Command("show"))
        context.params = {"url": a.service.local_url, "token": TOKEN}

        def complete(incomplete: str) -> list[tuple[str, str | None]]:
            items = NegotiationName().shell_complete(context, click.Argument(["negotiation"]), incomplete)
            return [(item.value, item.help) for item in items]

        assert await asyncio.to_thread(complete, "") == [(started["id"], "csp-b active")]
        assert await asyncio.to_thread(complete, started["id"][:6]) != []
        assert await asyncio.to_thread(complete, "zz") == []
        context.params["url"] = "http://127.0.0.1:9"
        assert await asyncio.to_thread(complete, "") == [], "a negotiator that is away is no error in a shell"


def test_shells_complete_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = tmp_path / "b"
    for folder, member in ((tmp_path, "csp-a"), (theirs, "csp-b")):
        assert run(["identity", "init", "--id", member, "--dir", str(folder)]) == 0
    where = ("--certificate", str(theirs / "certificate.pem"), "--negotiator", "https://192.0.2.2:8470")
    assert run(["peer", "add", "csp-b", *where, "--yes", "--dir", str(tmp_path)]) == 0
    capsys.readouterr()
    context = click.Context(click.Command("negotiate"))
    context.params = {"directory": tmp_path}
    found = MemberName().shell_complete(context, click.Argument(["peer"]), "csp")
    assert [item.value for item in found] == ["csp-b"]
    assert MemberName().shell_complete(context, click.Argument(["peer"]), "x") == []
