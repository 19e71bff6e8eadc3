"""Orders over real composers, negotiators and routers that are fakes: made once, found again, taken back whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest

from meetme.catalog.member_underlay import MemberUnderlay
from meetme.catalog.offers import Needs, Offer, OfferEnd
from meetme.catalog.order import End, Order, Thing
from meetme.catalog.settings import OwnPort
from meetme.catalog.words import Connectivity, Party, State, Wanted
from meetme.composer.words import State as Circuit
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, InvalidInput, MeetMeError, Refused, Unreachable
from meetme.negotiator.negotiation import Attachment
from tests.catalog.joined import A, B, joined
from tests.composer.federation import access, chain, settings, triangle
from tests.composer.federation import order as circuit_order

Seen = TypeVar("Seen")


def bought(offer: Offer, **more: object) -> Order:
    """An order of csp-a for it, as its own catalog server has it."""
    wanted = Wanted(offer.name, 1, offer.connectivity, redundancy=offer.needs.redundancy)
    return Order(uuid4(), Party.BUYER, A, B, replace(wanted, **more), 0.0, offer)  # type: ignore[arg-type]


async def once(look: Callable[[], Awaitable[Seen]], right: Callable[[Seen], bool]) -> Seen:
    """What is seen, as soon as it is right."""
    async with asyncio.timeout(20):
        while not right(seen := await look()):  # noqa: ASYNC110 - it is elsewhere
            await asyncio.sleep(0.02)
    return seen


async def refusal(what: Awaitable[object], kind: type[MeetMeError]) -> MeetMeError:
    with pytest.raises(kind) as caught:
        await what
    return caught.value


async def test_a_service_is_ordered_two_exchanges_away_and_taken_back(tmp_path: Path) -> None:
    async with joined(tmp_path, chain("ixp-1", "ixp-2", "ixp-3")) as world:
        a, b = world.a, world.b
        placed = await a.client.place("csp-b/vault")
        mine, theirs = await a.until(placed.id, State.ACTIVE), await b.until(placed.id, State.ACTIVE)
        assert (mine.state, theirs.state) == (State.ACTIVE, State.ACTIVE), (mine.problem, theirs.problem)
        assert [step.name for step in mine.steps] == [
            "approve",
            "compose",
            "link",
            "attach",
            "negotiate",
            "verify",
            "active",
        ]
        (agreed,) = await a.negotiator.client.negotiations()
        assert await a.negotiator.client.negotiations(agreed.circuit) == [agreed]
        assert await a.negotiator.client.negotiations(f"{agreed.circuit}%&") == []
        assert (agreed.circuit, str(agreed.id)) == (mine.circuit, mine.negotiation)
        alias = agreed.agreement.side(agreed.role.other).prefixes[0].alias
        assert mine.reach is not None
        assert mine.reach.address in alias
        assert alias.overlaps(b.negotiator.settings.local_subnet[0]) is False, "both use 10.0.0.0/24"
        ends = [(order.end.exchange, order.end.port) for order in (mine, theirs) if order.end is not None]
        assert ends == [("ixp-1", "a1"), ("ixp-3", "b1")], "each sees its own end, at its own exchange"
        assert set(await a.negotiator.client.attachments()) == {mine.circuit}
        assert set(await b.negotiator.client.attachments()) == {mine.circuit}
        await b.client.terminate(placed.id)
        assert (await a.until(placed.id, State.TERMINATED)).state is State.TERMINATED
        assert (await b.until(placed.id, State.TERMINATED)).state is State.TERMINATED
        await world.nothing_left()


@pytest.mark.slow
async def test_every_step_may_be_taken_twice(tmp_path: Path) -> None:
    async with joined(tmp_path, chain("ixp-1", "ixp-2")) as world:
        mine, theirs = world.underlay(world.a), world.underlay(world.b)
        offer = world.vault(connectivity=Connectivity.L3, prefix=None, address=None)
        order = bought(offer)
        assert await mine.circuit(order) is None
        assert await mine.remove_circuit(order)
        tries = await asyncio.gather(*(mine.make_circuit(order) for _ in range(3)), return_exceptions=True)
        made = await mine.make_circuit(order)
        assert all(isinstance(each, Unreachable) or each == made or each.id == made.id for each in tries), tries
        assert len(await world.federation["ixp-1"].client.circuits()) == 1
        built = await once(lambda: mine.circuit(order), lambda seen: seen is not None and seen.built)
        assert built is not None
        assert built.committed
        assert built.ended is None
        order = replace(order, circuit=Thing(id=made.id))
        sold = replace(order, party=Party.SELLER, me=B, partner=A)
        assert await theirs.negotiation(sold) is None
        assert await mine.attach(order) == await mine.attach(order)
        await theirs.attach(sold)
        started = await mine.make_negotiation(order)
        assert (await mine.make_negotiation(order)).id == started.id
        standing = await once(lambda: mine.negotiation(order), lambda seen: seen is not None and seen.active)
        assert standing is not None
        assert standing.reach is not None
        assert standing.reach.prefix is not None
        await once(lambda: theirs.negotiation(sold), lambda seen: seen is not None and seen.active)
        assert (await mine.verify(order)).prefix == standing.reach.prefix
        assert await once(lambda: mine.end_negotiation(order), bool)
        assert await mine.end_negotiation(order)
        for side, own in ((mine, order), (theirs, sold)):
            await once(lambda side=side, own=own: side.end_negotiation(own), bool)
            await side.detach(own)
            await side.detach(own)
        assert await once(lambda: mine.remove_circuit(order), bool)
        assert await mine.remove_circuit(order)
        gone = await mine.circuit(order)
        assert gone is not None
        assert gone.ended is not None
        await world.nothing_left()


@pytest.mark.slow
async def test_the_ways_of_every_own_port_are_told_with_what_stands_in_the_way(tmp_path: Path) -> None:
    layout = triangle()
    layout["ixp-2"] = settings(*layout["ixp-2"].port, access("a2", "csp-a"))
    async with joined(tmp_path, layout) as world:
        near, far = world.a.settings.port[0], OwnPort(exchange=MemberId("ixp-2"), port="a2", lands="r1/eth2")
        nobody = OwnPort(exchange=MemberId("csp-c"), port="a3", lands="r1/eth3")
        mine = world.underlay(world.a, port=(far, near, nobody))
        offer = world.vault()
        found = await mine.ways(offer, B)
        assert [(way.exchange, way.members) for way in found.ways][:2] == [
            ("ixp-1", ("ixp-1", "ixp-3")),
            ("ixp-2", ("ixp-2", "ixp-3")),
        ]
        assert [problem.code for problem in found.problems] == ["peer_url_missing"]
        strict = await mine.ways(offer, B, "strict")
        assert strict.ways
        assert all(way.circuit.second_path for way in strict.ways)
        hurried = replace(offer, needs=Needs(bandwidth=50, max_latency_ms=0.5))
        found = await world.underlay(world.a, port=(near,)).ways(hurried, B)
        assert not found.ways
        assert found.refused[0].constraint == "max_latency_ms"
        refused = await refusal(world.underlay(world.a, port=(near,)).make_circuit(bought(hurried)), Refused)
        assert refused.code == "no_way"
        assert "max_latency_ms 0.5" in refused.text
        way = next(way for way in (await mine.ways(offer, B)).ways if way.exchange == "ixp-2")
        order = bought(offer, circuit_offer=way.id, exchange=way.exchange)
        made = await mine.make_circuit(order)
        (circuit,) = await world.federation["ixp-2"].client.circuits()
        assert (made.id, await world.federation["ixp-1"].client.circuits()) == (str(circuit.id), [])
        assert (await world.federation["ixp-2"].until(circuit.id, Circuit.ACTIVE)).state is Circuit.ACTIVE
        assert (await once(lambda: mine.circuit(order), bool)) is not None, "the others are not asked"
        seen = await mine.sight(replace(order, circuit=Thing(id=made.id), end=End(MemberId("ixp-2"), "a2", None, 1500)))
        assert seen.course is not None
        assert seen.federation is not None
        assert (seen.course.path, seen.problems) == (way.members, ())
        assert {point.member for each in seen.federation.exchanges for point in each.points} <= {MemberId("csp-a")}
        await once(lambda: mine.remove_circuit(order), bool)


async def test_what_cannot_be_is_said_in_words_that_help(tmp_path: Path) -> None:
    async with joined(tmp_path, chain("ixp-1", "ixp-2")) as world:
        order = bought(world.vault(connectivity=Connectivity.L3))
        without = world.underlay(world.a, port=())
        assert (await refusal(without.make_circuit(order), InvalidInput)).code == "port_missing"
        strange = world.vault(ends=(OfferEnd(MemberId("ixp-2"), "b9"),))
        error = await refusal(world.underlay(world.a).make_circuit(bought(strange)), MeetMeError)
        assert "b9" in error.text
        here = world.a.settings.port[0]
        away = world.underlay(world.a, port=(replace(here, exchange=MemberId("csp-c")),))
        assert (await refusal(away.make_circuit(order), MeetMeError)).code == "peer_url_missing"
        unknown = replace(order, circuit=Thing(id=str(uuid4())))
        assert (await refusal(world.underlay(world.a).attach(unknown), Refused)).code == "circuit_unknown"
        assert (await refusal(world.underlay(world.a).verify(unknown), Refused)).code == "negotiation_ended"
        name = MemberId(world.a.negotiator.name)
        alone = MemberUnderlay(world.a.settings, name, world.clients[name], None)
        assert (await refusal(alone.make_negotiation(unknown), Refused)).code == "negotiator_missing"
        await world.federation["ixp-1"].service.close()
        await refusal(world.underlay(world.a).make_circuit(order), Unreachable)


@pytest.mark.slow
async def test_a_circuit_that_the_buyer_has_not_ordered_is_none_of_this_order(tmp_path: Path) -> None:
    async with joined(tmp_path, chain("ixp-1", "ixp-2")) as world:
        ordered = await world.federation["ixp-1"].client.create(circuit_order("csp-a/a1", "csp-b/b1"))
        await world.federation["ixp-1"].until(ordered.id, Circuit.ACTIVE)
        theirs = world.underlay(world.b)
        own = bought(world.vault(connectivity=Connectivity.L3))
        sold = replace(own, party=Party.SELLER, me=B, partner=A, circuit=Thing(id=str(ordered.id)))
        assert (await refusal(theirs.attach(sold), Refused)).code == "circuit_foreign"
        told = Attachment("r1", "eth1", None, 1500, MemberId("csp-c"))
        await world.b.negotiator.client.put_attachment(str(ordered.id), told)
        await theirs.detach(sold)
        assert set(await world.b.negotiator.client.attachments()) == {str(ordered.id)}, "it is that with csp-c"


@pytest.mark.slow
async def test_the_seller_has_its_end_where_it_offers_the_service(tmp_path: Path) -> None:
    async with joined(tmp_path, chain("ixp-1", "ixp-2")) as world:
        mine, theirs = world.underlay(world.a), world.underlay(world.b)
        own = bought(world.vault())
        made = await mine.make_circuit(own)
        await once(lambda: mine.circuit(own), lambda seen: seen is not None and seen.built)
        elsewhere = world.vault(ends=(OfferEnd(MemberId("ixp-2"), "b2"),))
        sold = replace(own, party=Party.SELLER, me=B, partner=A, circuit=Thing(id=made.id), offered=elsewhere)
        assert (await refusal(theirs.attach(sold), Refused)).code == "end_not_offered"
        assert (await theirs.attach(replace(sold, offered=world.vault()))).port == "b1"


@pytest.mark.slow
async def test_an_order_fails_with_the_reason_of_the_exchange_that_refuses(tmp_path: Path) -> None:
    async with joined(tmp_path, chain("ixp-1", "ixp-2", "ixp-3")) as world:
        world.federation["ixp-2"].exchange.fail(Refused("exchange_full", "segment: must fit"))
        placed = await world.a.client.place("csp-b/wire")
        mine, theirs = await world.a.until(placed.id), await world.b.until(placed.id)
        assert (mine.state, theirs.state) == (State.FAILED, State.FAILED)
        for problem in (mine.problem, theirs.problem):
            assert problem is not None
            assert (problem.code, problem.fault) == ("exchange_full", Fault.REMOTE)
        await world.nothing_left()
