"""What the Linux driver would do, as commands: golden files that a person can read, and the checks before any of it."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.drivers.base import RouterFacts
from meetme.drivers.linux.config import CircuitConfig, Device
from meetme.drivers.linux.difference import steps
from meetme.drivers.linux.names import link_local, names, own_address
from meetme.drivers.linux.render import render
from meetme.model.agreement import Role
from meetme.model.errors import Conflict, InvalidInput, MeetMeError, NotFound
from meetme.model.intent import LinkAddresses, LinkIntent, Mapping, Port, RouteFact

GOLDEN = Path(__file__).parents[1] / "golden" / "linux"
FACTS = RouterFacts(
    ports=(
        Port("lo", True, 65536, None, (ip_interface("127.0.0.1/8"),)),
        Port("lan", True, 1500, "02:00:00:00:00:01", (ip_interface("10.0.0.1/24"), ip_interface("fd00:1::1/64"))),
        Port("eth1", True, 1500, "02:00:00:00:00:02", (ip_interface("fe80::5/64"),)),
        Port("eth2", True, 9000, "02:00:00:00:00:03"),
    ),
    routes=(RouteFact(ip_network("10.0.0.0/24"), "lan", connected=True),),
)


def mapping(inside: str, wire: str | None = None) -> Mapping:
    return Mapping(ip_network(inside), ip_network(wire or inside))


SINGLE = LinkIntent(
    circuit="ix1-ix2-0007",
    agreement=UUID(int=1),
    revision=1,
    generation=1,
    role=Role.INITIATOR,
    port="eth1",
    mtu=1500,
    local=(mapping("10.0.0.0/24", "100.64.1.0/24"),),
    remote=(mapping("100.64.2.0/24", "10.0.0.0/24"),),
    probe=ip_address("10.0.0.1"),
    probe_source=ip_address("10.0.0.1"),
    peer_probe=ip_address("100.64.2.1"),
)
LINK = LinkAddresses(ip_interface("192.168.255.0/31"), ip_interface("192.168.255.1/31"))
CASES = {
    "single": SINGLE,
    "single-the-other-side": replace(
        SINGLE, role=Role.RESPONDER, local=(mapping("10.0.0.0/24"),), remote=(mapping("100.64.1.0/24"),),
        peer_probe=ip_address("100.64.1.1"),
    ),
    "each-own-numbered": replace(SINGLE, remote=(mapping("100.64.2.0/24"),), link=LINK),
    "both-families-two-prefixes": replace(
        SINGLE,
        local=(*SINGLE.local, mapping("fd00:1::/64")),
        remote=(*SINGLE.remote, mapping("10.9.0.0/25"), mapping("fd64::/64", "fd00:1::/64")),
    ),
    "vlan-on-a-jumbo-port": replace(SINGLE, port="eth2", vlan=107, mtu=8996),
}  # fmt: skip


def commands(have: CircuitConfig | None, want: CircuitConfig | None) -> str:
    return "".join(f"{step.command}\n" for step in steps(SINGLE.circuit, have, want))


@pytest.mark.parametrize("name", CASES)
def test_the_commands_of_a_circuit(name: str) -> None:
    want = render(CASES[name], FACTS)
    text = f"# apply\n{commands(None, want)}\n# remove\n{commands(want, None)}"
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), "UPDATE_GOLDEN=1 writes it anew"


CHANGED = replace(
    SINGLE,
    mtu=1400,
    local=(mapping("10.3.0.0/24", "100.64.3.0/24"), *SINGLE.local),
    remote=(*SINGLE.remote, mapping("fd64::/64", "fd00:1::/64")),
    probe_source=None,
)  # fmt: skip


def test_the_commands_of_a_change() -> None:
    """What stays is replaced in its place or not touched at all; no chain and no set of it is made anew."""
    have, want = render(SINGLE, FACTS), render(CHANGED, FACTS)
    text = f"# change\n{commands(have, want)}\n# back\n{commands(want, have)}"
    path = GOLDEN / "a-change-and-back.sh"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), "UPDATE_GOLDEN=1 writes it anew"


def test_nothing_to_do_where_nothing_differs() -> None:
    want = render(SINGLE, FACTS)
    assert steps(SINGLE.circuit, want, render(SINGLE, FACTS)) == ()
    assert steps(SINGLE.circuit, None, None) == ()


def test_a_part_that_is_gone_is_all_that_comes_back() -> None:
    want = render(SINGLE, FACTS)
    for part in want.parts:
        short = replace(want, parts=want.parts - {part})
        most = 5 if isinstance(part, Device) else 2  # a veth pair has two ends; with a route, older flows are forgotten
        assert 1 <= len(steps(SINGLE.circuit, short, want)) <= most, part


@pytest.mark.parametrize(
    ("change", "kind", "code", "field"),
    [
        ({"port": "eth9"}, NotFound, "port_unknown", "port"),
        ({"port": "lo"}, NotFound, "port_unknown", "port"),
        ({"port": "lan"}, Conflict, "port_has_addresses", "port"),
        ({"mtu": 1501}, InvalidInput, "mtu_too_large", "mtu"),
        ({"mtu": 1279}, InvalidInput, "mtu_too_small", "mtu"),
        ({"local": ()}, InvalidInput, "prefix_missing", "local"),
        ({"local": (mapping("10.0.0.0/24", "100.64.0.0/25"),)}, InvalidInput, "prefix_lengths_differ", "local[0]"),
        ({"local": (mapping("10.0.0.0/24"), mapping("10.0.0.0/25"))}, InvalidInput, "prefix_overlaps", "local[1]"),
        ({"remote": (mapping("10.0.0.0/25"),)}, InvalidInput, "prefix_overlaps", "remote[0]"),
        ({"probe_source": ip_address("10.0.0.9")}, InvalidInput, "probe_source_unknown", "probe_source"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], kind: type[MeetMeError], code: str, field: str) -> None:
    with pytest.raises(kind) as failure:
        render(replace(SINGLE, **change), FACTS)
    assert (failure.value.code, failure.value.field) == (code, field)


def test_a_port_with_a_vlan_in_use_is_not_whole_any_more() -> None:
    with_vlan = replace(FACTS, taken=(("eth2.7", "another"),))
    with pytest.raises(Conflict):
        render(replace(SINGLE, port="eth2"), with_vlan)
    with pytest.raises(Conflict):
        render(replace(SINGLE, port="eth2", vlan=7), with_vlan)
    assert render(replace(SINGLE, port="eth2", vlan=8), with_vlan).device == "eth2.8"


def test_a_new_address_of_the_router_changes_the_ruleset_alone() -> None:
    more = (*FACTS.ports, Port("lan2", True, 1500, None, (ip_interface("10.0.0.200/32"),)))
    before, after = render(SINGLE, FACTS), render(SINGLE, replace(FACTS, ports=more))
    assert before.parts == after.parts
    assert "10.0.0.200/32" in after.ruleset
    assert "10.0.0.200/32" not in before.ruleset


@given(st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="-:."), min_size=1, max_size=100))
def test_names_fit_and_the_two_sides_agree(circuit: str) -> None:
    own = names(circuit)
    assert len(own.outer) <= 15
    assert len(own.inner) <= 15
    assert link_local(circuit, Role.INITIATOR) != link_local(circuit, Role.RESPONDER)
    for role in Role:
        assert link_local(circuit, role).is_link_local
        address = own_address(circuit, role)
        assert address.ip in ip_network("169.254.1.0/24").supernet(new_prefix=16)
        assert address.ip.packed[2] not in (0, 169, 255)
    assert own_address(circuit, Role.INITIATOR) != own_address(circuit, Role.RESPONDER)
    assert 1024 < own.closed_metric < 2**32
