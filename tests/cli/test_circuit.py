"""`meetme circuit`: what people see, what programs read, and how it ends."""

from __future__ import annotations

import asyncio
import json

import pytest

from meetme.cli.main import run
from tests.composer.federation import TOKEN, chain, federation


async def test_offers_create_list_show_delete(capsys: pytest.CaptureFixture[str]) -> None:
    async with federation(chain("ixp-1", "ixp-2")) as fed:
        url = fed["ixp-1"].service.local_url

        async def meetme(*arguments: str) -> tuple[int, str, str]:
            capsys.readouterr()
            status = await asyncio.to_thread(run, ["circuit", *arguments, "--url", url, "--token", TOKEN])
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        ends = ("csp-a/a1", "csp-b/b1", "--bandwidth", "10")
        status, out, _ = await meetme("offers", *ends)
        assert (status, "a1 ixp-1 to-ixp-2 > to-ixp-1 ixp-2 b1" in out) == (0, True)
        status, _, err = await meetme("offers", *ends[:2], "--bandwidth", "5000")
        assert (status, "bandwidth 5000: 1000 would do" in err) == (3, True)
        status, out, err = await meetme("create", *ends, "--dry-run")
        assert (status, "nothing is held" in err) == (0, True)
        assert not fed["ixp-1"].exchange.segments

        status, out, err = await meetme("create", *ends)
        assert (status, "active" in out, "reserving" in err) == (0, True, True)
        status, out, _ = await meetme("list", "--format", "json")
        # The composers log to the same place, before it and after it.
        (listed,), _ = json.JSONDecoder().raw_decode(out, out.index("[\n"))
        assert (listed["state"], [hop["exchange"] for hop in listed["path"]]) == ("active", ["ixp-1", "ixp-2"])
        status, out, _ = await meetme("show", listed["id"][:6])
        assert (status, "csp-b" in out) == (0, True)
        status, out, _ = await meetme("delete", listed["id"][:6])
        assert (status, "released" in out) == (0, True)
        await fed.empty()

        for arguments, expected, said in (
            (("create", *ends[:2]), 2, "--bandwidth is needed"),
            (("create",), 2, "two ends are needed"),
            (("create", "csp-a", "csp-b/b1", "--bandwidth", "1"), 2, "an end is written MEMBER/PORT"),
            (("create", "csp-a/a1", "csp-b/zz", "--bandwidth", "1"), 2, "known are ixp-2/b1"),
            (("create", "--offer", "mine"), 2, "must be the id of an offer"),
            (("create", *ends, "--max-latency-ms", "0.0001"), 3, "max_latency_ms"),
            (("show", "0000"), 2, "circuit_unknown"),
            (("delete", "00"), 2, "its first 4 characters"),
        ):
            status, _, err = await meetme(*arguments)
            assert (status, said in err) == (expected, True), err


def test_a_composer_that_is_away_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["circuit", "list", "--url", "http://127.0.0.1:9", "--token", "x"]) == 4
    assert "meetme serve composer" in capsys.readouterr().err
