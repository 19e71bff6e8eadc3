"""`"then": "negotiate"`: over a circuit of two exchanges two real negotiators agree, and it ends with the circuit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from meetme.composer.settings import ComposerSettings, NegotiatorAccess
from meetme.composer.words import State as Circuit
from meetme.model.errors import InvalidInput
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import State
from tests.negotiator.pair import COMPOSERS_TOKEN, Side, pair

from .federation import Federation, chain, federation, order


@asynccontextmanager
async def world(tmp_path: Path, names: tuple[str, ...], **lands: str) -> AsyncIterator[tuple[Federation, Side, Side]]:
    """Two providers, each at an exchange whose composer may ask its negotiator. `lands`: where that is told."""
    token = tmp_path / "token"
    token.write_text(COMPOSERS_TOKEN)
    async with pair() as (a, b):
        layout = dict(chain(*names))
        for name, side, letter in ((names[0], a, "a"), (names[-1], b, "b")):
            told = (f"{letter}1={lands[letter]}",) if letter in lands else ()
            access = NegotiatorAccess(side.name, side.service.local_url, token, told)
            layout[name] = replace(layout[name], negotiator=(*layout[name].negotiator, access))
        async with federation(layout) as fed:
            yield fed, a, b


async def only(client: NegotiatorClient, *states: State, seconds: float = 20.0) -> list[State]:
    """The states of all negotiations, the newest first, once the newest is in one of `states`."""
    async with asyncio.timeout(seconds):
        while True:
            found = [n.state for n in await client.negotiations()]
            if found and found[0] in states:
                return found
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("names", [pytest.param(("ixp-1",), marks=pytest.mark.slow), ("ixp-1", "ixp-2")])
async def test_the_members_agree_once_the_circuit_is_active_and_it_ends_with_it(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    async with world(tmp_path, names, a="r1/eth1", b="r1/eth2") as (fed, a, b):
        first, last = fed[names[0]], fed[names[-1]]
        started = await first.client.create(order("csp-a/a1", "csp-b/b1", then="negotiate"))
        mine = await first.until(started.id, Circuit.ACTIVE)
        assert mine.state is Circuit.ACTIVE, mine.problem
        await only(a.client, State.ACTIVE)
        (n,) = await a.client.negotiations()
        assert (n.circuit, n.peer) == (str(started.id), "csp-b")
        found = (await a.client.attachments(), await b.client.attachments())
        vlans = [end.vlan for end in mine.ends]
        assert found == (
            {str(started.id): Attachment("r1", "eth1", vlans[0], 1500, "csp-b")},
            {str(started.id): Attachment("r1", "eth2", vlans[1], 1500, "csp-a")},
        )
        await last.client.delete(started.id)
        assert (await first.until(started.id)).state is Circuit.RELEASED
        assert await only(a.client, State.TERMINATED) == [State.TERMINATED]
        assert await only(b.client, State.TERMINATED) == [State.TERMINATED]
        async with asyncio.timeout(20):
            while await a.client.attachments() or await b.client.attachments():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert a.router.links == b.router.links == {}


async def test_it_waits_until_the_members_have_said_where_the_circuit_lands(tmp_path: Path) -> None:
    async with world(tmp_path, ("ixp-1", "ixp-2")) as (fed, a, b):
        first = fed["ixp-1"]
        started = await first.client.create(order("csp-a/a1", "csp-b/b1", then="negotiate"))
        await first.until(started.id, Circuit.ACTIVE)
        notes = ""
        async with asyncio.timeout(20):
            while "attachment_unknown" not in notes:
                notes = " ".join(due.note for due in (await first.client.circuit(started.id)).owed)
                await asyncio.sleep(0.05)
        assert await a.client.negotiations() == []
        await a.client.put_attachment(str(started.id), Attachment("r1", "eth1"))
        assert await only(a.client, State.REFUSED) == [State.REFUSED], "the other side does not know yet"
        await b.client.put_attachment(str(started.id), Attachment("r1", "eth1"))
        assert set(await only(a.client, State.ACTIVE)) == {State.ACTIVE, State.REFUSED}
        await first.client.delete(started.id)
        await only(a.client, State.TERMINATED)
        assert set(await a.client.attachments()) == {str(started.id)}, "what the member has registered is the member's"


def test_where_it_lands_is_checked() -> None:
    own = chain("ixp-1")["ixp-1"]

    def check(*lands: str) -> ComposerSettings:
        access = NegotiatorAccess("csp-a", "http://127.0.0.1:1", Path("token"), lands)
        settings = replace(own, negotiator=(access,))
        settings.check("ixp-1")
        return settings

    (known,) = check("a1=r1/eth1").negotiator
    assert (known.landing("a1"), known.landing("b1")) == (("r1", "eth1"), None)
    for wrong in ("a9=r1/eth1", "a1=eth1", "a1", "a1=r1/"):
        with pytest.raises(InvalidInput) as caught:
            check(wrong)
        assert caught.value.code == "lands_invalid"
