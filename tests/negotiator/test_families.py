"""An agreement with IPv4 and IPv6 is proven in both families, and watched in both."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

from meetme.model.agreement import Agreement, Role
from meetme.model.intent import Port
from meetme.negotiator import wire
from meetme.negotiator.addressing import Own, Usage
from meetme.negotiator.agreeing import agree, make_offer
from meetme.negotiator.intents import link_intent, probe_requests
from meetme.negotiator.messages import Verified
from meetme.negotiator.negotiation import Attachment, HealthState
from meetme.negotiator.objecting import objections
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .networks import ALFA, BRAVO, CIRCUIT, ID
from .pair import Side, pair

FOUR, SIX = ("10.1.0.0/24", "10.2.0.0/24"), ("fd00:1::/64", "fd00:2::/64")


def own(number: int, *, six: bool = True) -> Own:
    """A side with both families and an address in each, or with both prefixes and no address in IPv6."""
    prefixes = (ip_network(FOUR[number]), ip_network(SIX[number]))
    return Own(
        (ALFA, BRAVO)[number],
        prefixes,
        Usage(held=prefixes),
        (ip_network("172.16.0.0/16"),),
        (ip_network("169.254.100.0/24"),),
        1500,
        probe=prefixes[0][1],
        probes=(prefixes[1][1],) if six else (),
    )


def agreed(a: Own, b: Own, *, older: bool = False) -> Agreement:
    """What both come to. `older`: the initiator knows of one probe address a side."""
    first = make_offer(a, None)
    counter = agree(first, b, id=ID, circuit=CIRCUIT, initiator=ALFA)
    offer = make_offer(a, counter)
    if older:
        offer = replace(offer, second_probe=None)
    found = agree(offer, b, id=ID, circuit=CIRCUIT, initiator=ALFA)
    assert isinstance(found, Agreement), found
    assert list(objections(found, offer, a)) == []
    return found


def asked(agreement: Agreement) -> list[tuple[str, str]]:
    requests = probe_requests(agreement, Role.INITIATOR, target=None, within=1.0)
    assert all(request.sizes == (84, 1500) for request in requests)
    return [(str(request.source), str(request.target)) for request in requests]


def test_both_families_are_asked() -> None:
    assert asked(agreed(own(0), own(1))) == [("10.1.0.1", "10.2.0.1"), ("fd00:1::1", "fd00:2::1")]


def test_a_family_without_an_address_at_one_side_is_not() -> None:
    assert asked(agreed(own(0), own(1, six=False))) == [("10.1.0.1", "10.2.0.1")]
    assert asked(agreed(own(0, six=False), own(1))) == [("10.1.0.1", "10.2.0.1")]


def test_an_older_negotiator_is_told_of_one_address() -> None:
    agreement = agreed(own(0), own(1), older=True)
    assert agreement.responder.second_probe is None
    assert "second_probe" not in json.dumps(wire.agreement_json(agreement))


def test_documents_stay_readable() -> None:
    agreement = agreed(own(0), own(1))
    payload = wire.agreement_payload(agreement)
    assert wire.read_agreement(payload) == agreement
    document = json.loads(payload)
    assert document["responder"].pop("second_probe") == "fd00:2::1"
    older = wire.read_agreement(json.dumps(document))
    assert older.responder == replace(agreement.responder, second_probe=None)


def test_the_router_answers_in_both_families() -> None:
    intent = link_intent(agreed(own(0), own(1)), Role.RESPONDER, Attachment("r1", "eth1"), generation=1)
    assert [str(intent.probe_in(version)) for version in (4, 6)] == ["10.2.0.1", "fd00:2::1"]
    assert [str(intent.peer_probe_in(version)) for version in (4, 6)] == ["10.1.0.1", "fd00:1::1"]


def test_two_addresses_of_one_family_are_objected_to() -> None:
    a, b = own(0), own(1)
    offer = make_offer(a, agree(make_offer(a, None), b, id=ID, circuit=CIRCUIT, initiator=ALFA))
    found = agree(offer, b, id=ID, circuit=CIRCUIT, initiator=ALFA)
    wrong = replace(found, responder=replace(found.responder, second_probe=ip_address("10.2.0.2")))
    assert "agreement_probe" in [problem.code for problem in objections(wrong, offer, a)]


# --- whole members ----------------------------------------------------------------------------------------------------


def changes(number: int, **more: Any) -> dict[str, Any]:
    return {"local_subnet": (ip_network(FOUR[number]), ip_network(SIX[number])), "probe_interval": 0.5, **more}


def addressed(side: Side, number: int, *, six: bool = True) -> None:
    """Give the router an address in each family."""
    texts = (f"10.{number + 1}.0.1/24", f"fd00:{number + 1}::1/64")
    inside = Port("eth0", True, 1500, None, tuple(ip_interface(text) for text in (texts if six else texts[:1])))
    side.router.ports = (inside, *side.router.ports[1:])


async def started(a: Side) -> Any:
    view = await a.client.start(StartRequest("csp-b"))
    return await a.until(view.id, State.ACTIVE, seconds=40)


async def test_path_means_both_families(tmp_path: Path) -> None:
    async with pair(tmp_path, a=changes(0), b=changes(1)) as (a, b):
        addressed(a, 0), addressed(b, 1)
        view = await started(a)
        assert (view.state, view.verified) == (State.ACTIVE, Verified.PATH)
        assert {str(view.agreement.initiator.probe), str(view.agreement.initiator.second_probe)} == {
            "10.1.0.1",
            "fd00:1::1",
        }


async def test_a_family_that_cannot_be_asked_is_no_path(tmp_path: Path) -> None:
    async with pair(tmp_path, a=changes(0), b=changes(1)) as (a, b):
        addressed(a, 0), addressed(b, 1, six=False)
        view = await started(a)
        assert (view.state, view.verified) == (State.ACTIVE, Verified.LINK)


async def test_one_family_turns_bad_later(tmp_path: Path) -> None:
    async with pair(tmp_path, a=changes(0), b=changes(1)) as (a, b):
        addressed(a, 0), addressed(b, 1)
        view = await started(a)
        a.router.loses = frozenset({6})
        now = await turned(a, view.id, HealthState.DEGRADED)
        assert (now.state, now.health.reason.code) == (State.ACTIVE, "family_not_carried")
        assert "IPv6 must cross as IPv4 does" in now.health.reason.text
        a.router.loses = frozenset()
        await turned(a, view.id, HealthState.UP)


async def turned(side: Side, id: UUID, state: HealthState) -> Any:
    """How it stands once its health is `state`."""
    async with asyncio.timeout(20), aclosing(side.client.follow(id)) as views:
        async for view in views:
            if view.health is not None and view.health.state is state:
                return view
    raise AssertionError("it has ended")
