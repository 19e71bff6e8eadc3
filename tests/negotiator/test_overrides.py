"""What one request overrides of the four settings, through the API and the command line, and for itself alone."""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from meetme.cli.main import run
from meetme.model.agreement import LinkKind, Role, Translation
from meetme.model.errors import MeetMeError
from meetme.negotiator import store
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .pair import TOKEN, pair

PLAIN = {
    "local_subnets": ["10.0.0.0/24"],
    "private_networks": ["172.16.0.0/12"],
    "negotiated_networks": ["169.254.100.0/24"],
    "port": "eth1",
}
OTHERS = {
    "local_subnets": ["10.0.0.0/25", "10.0.5.0/24"],
    "private_networks": ["198.18.0.0/16", "198.19.0.0/16"],
    "negotiated_networks": ["169.254.7.0/30"],
    "port": "eth2",
    "translation": "each-own",
    "link": "numbered",
    "mtu": 1400,
}
WIDE = {"negotiated_networks": (ip_network("169.254.0.0/16"),)}


async def test_every_setting_can_be_overridden_in_one_request() -> None:
    async with pair(b=WIDE) as (a, b):
        started = await a.client.start(StartRequest(peer="csp-b", **OTHERS))
        found = (await a.until(started.id, State.ACTIVE, State.FAILED, State.REFUSED)).agreement
        assert found is not None
        await b.until(started.id, State.ACTIVE)
        check_others(found)
        (link,) = a.router.links.values()
        assert link.intent.port == "eth2"
        # what was overridden holds for every later round and for what is kept, and for nobody else
        assert {str(p.real) for p in found.initiator.prefixes} == set(OTHERS["local_subnets"])


def check_others(found) -> None:
    assert [str(p.real) for p in found.initiator.prefixes] == OTHERS["local_subnets"]
    assert (found.translation, found.mtu) == (Translation.EACH_OWN, 1400)
    assert found.link.kind is LinkKind.NUMBERED
    assert str(found.link.initiator) == "169.254.7.0/31"
    (theirs,) = found.responder.prefixes
    assert (str(theirs.alias), theirs.translator) == ("198.18.0.0/24", Role.RESPONDER), "out of the pool of the request"
    assert found.initiator.prefixes[0].alias.subnet_of(ip_network("172.16.0.0/12")), "the peer's pools are its own"
    assert found.initiator.prefixes[1].translator is None


async def test_every_flag_of_negotiate_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--port", "eth2", "--translation", "each-own", "--link", "numbered", "--mtu", "1400"]
    flags += ["--local-subnet", "10.0.0.0/25", "--local-subnet", "10.0.5.0/24"]
    flags += ["--private-networks", "198.18.0.0/16, 198.19.0.0/16", "--negotiated-networks", "169.254.7.0/30"]
    async with pair(b=WIDE) as (a, _):
        command = ["negotiate", "csp-b", "--url", a.service.local_url, "--token", TOKEN, "--format", "json", *flags]
        assert await asyncio.to_thread(run, command) == 0
        said = capsys.readouterr().out  # and what the members in this process log
        id = json.JSONDecoder().raw_decode(said, said.index("{\n"))[0]["id"]
        found = (await a.client.negotiation(id)).agreement
        check_others(found)
        assert a.router.links[found.circuit].intent.port == "eth2"


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "port"])
async def test_each_setting_alone(name: str) -> None:
    """The others come from the settings."""
    request: dict[str, Any] = {name: OTHERS[name], "link": "numbered"}
    async with pair(b=WIDE) as (a, _):
        started = await a.client.start(StartRequest(peer="csp-b", **request))
        found = (await a.until(started.id, State.ACTIVE, State.FAILED, State.REFUSED)).agreement
        assert found is not None
        used = {**PLAIN, name: OTHERS[name]}
        assert [str(p.real) for p in found.initiator.prefixes] == used["local_subnets"]
        alias = found.responder.prefixes[0].alias
        assert any(alias.subnet_of(ip_network(pool)) for pool in used["private_networks"])
        assert found.link.initiator is not None
        assert found.link.initiator.network.subnet_of(ip_network(used["negotiated_networks"][0]))


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        ({"local_subnets": []}, "local_subnet_missing", "local_subnets"),
        ({"local_subnets": ["10.0.0.0/24", "10.0.0.0/25"]}, "local_subnets_overlap", "local_subnets"),
        ({"local_subnets": ["172.20.0.0/24"]}, "pool_overlaps_subnet", "private_networks"),
        ({"local_subnets": ["169.254.100.0/25"]}, "prefix_not_routable", "local_subnets"),
        ({"private_networks": ["10.0.0.0/8"]}, "pool_overlaps_subnet", "private_networks"),
        ({"private_networks": ["169.254.100.0/25"]}, "prefix_not_routable", "private_networks"),
        ({"private_networks": ["224.0.0.0/8"]}, "prefix_not_routable", "private_networks"),
        ({"negotiated_networks": ["172.16.1.0/24"]}, "pools_overlap", "private_networks"),
        ({"private_networks": ["10.0.0.1/24"]}, "prefix_host_bits", "private_networks[0]"),
        ({"port": "eth9"}, "port_unknown", "port"),
        ({"port": "r2/eth1"}, "router_unknown", "port"),
    ],
)
async def test_an_override_that_cannot_be_is_refused_at_once(request_: dict[str, Any], code: str, field: str) -> None:
    async with pair() as (a, b):
        with pytest.raises(MeetMeError) as caught:
            await a.client.start(StartRequest(peer="csp-b", **request_))
        assert (caught.value.code, caught.value.field) == (code, field)
        assert await a.client.negotiations() == await b.client.negotiations() == []


async def test_what_is_announced_to_one_peer_is_not_taken_from_another() -> None:
    """A prefix of one request is in use from then on: what B announces under the same one gets an alias."""
    other = ip_network("10.44.0.0/24")
    async with pair(b={"local_subnet": (other,), "probe_address": ip_address("10.44.0.9")}) as (a, b):
        first = await a.client.start(StartRequest(peer="csp-b", local_subnets=["10.44.0.0/25"], link="numbered"))
        found = await a.until(first.id, State.ACTIVE)
        assert found.agreement is not None
        assert found.agreement.responder.prefixes[0].alias != other
        assert ip_network("10.44.0.0/25") in a.database.run_now(store.claimed_prefixes)
        assert other in b.database.run_now(store.claimed_prefixes)
