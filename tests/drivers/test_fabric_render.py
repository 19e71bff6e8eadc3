"""What the fabric driver would do, as commands: golden files that a person can read, and the checks before it."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.drivers.base import RouterFacts
from meetme.drivers.fabric.choosing import INTERVAL, WELL_SECONDS, choose
from meetme.drivers.fabric.choosing import Path as Way
from meetme.drivers.fabric.config import (
    PROBE_MAC,
    Apart,
    Bridge,
    Member,
    OneCarries,
    Part,
    PortBefore,
    SegmentConfig,
    Shape,
    Tunnel,
    Vlan,
    vlan_name,
)
from meetme.drivers.fabric.difference import NotePort, Run, Set, Step, steps
from meetme.drivers.fabric.render import render
from meetme.model.errors import Conflict, InvalidInput, MeetMeError, NotFound
from meetme.model.intent import Port, RouteFact
from meetme.model.segment import AccessEnd, SegmentIntent, TunnelEnd

GOLDEN = Path(__file__).parents[1] / "golden" / "fabric"
FACTS = RouterFacts(
    ports=(
        Port("lo", True, 65536, None, (ip_interface("127.0.0.1/8"), ip_interface("10.9.0.1/32"))),
        Port("eth1", True, 1500, "02:00:00:00:00:01", (ip_interface("fe80::5/64"),)),
        Port("eth2", True, 9000, "02:00:00:00:00:02"),
        Port("eth3", True, 9000, "02:00:00:00:00:03"),
        Port("up0", True, 1550, "02:00:00:00:00:04", (ip_interface("10.9.1.1/24"), ip_interface("fd09::1/64"))),
        Port("up1", True, 9100, "02:00:00:00:00:05", (ip_interface("10.9.2.1/24"),)),
    ),
    routes=(
        RouteFact(ip_network("0.0.0.0/0"), "up0"),
        RouteFact(ip_network("10.9.1.0/24"), "up0", connected=True),
        RouteFact(ip_network("10.9.2.0/24"), "up1", connected=True),
        RouteFact(ip_network("fd09::/64"), "up0", connected=True),
    ),
    taken=(("eth3.7", "other"),),
)


def tunnel(local: str, remote: str, vni: int) -> TunnelEnd:
    return TunnelEnd(ip_address(local), ip_address(remote), vni)


ACROSS = SegmentIntent(
    "ix1-0007", UUID(int=1), 1, 1, (AccessEnd("eth1"),), (tunnel("10.9.1.1", "10.9.1.2", 4711),), 1500, 100
)
PROTECTED = replace(ACROSS, b=(*ACROSS.b, tunnel("10.9.2.1", "10.9.2.2", 4712)), bandwidth=None)
CASES = {
    "two-ports": replace(ACROSS, b=(AccessEnd("eth2"),)),
    "port-and-tunnel": ACROSS,
    "protected": PROTECTED,
    "transit": replace(ACROSS, a=(tunnel("fd09::1", "fd09::2", 9),), mtu=1480),
    "vlan-of-a-jumbo-port": replace(
        ACROSS, a=(AccessEnd("eth2", 100),), b=(tunnel("10.9.0.1", "10.9.2.2", 1),), mtu=9000
    ),
}


def commands(have: SegmentConfig | None, want: SegmentConfig | None) -> str:
    return "".join(f"{step.command}\n" for step in steps(ACROSS.circuit, have, want))


def noted(config: SegmentConfig) -> SegmentConfig:
    """As it is read once it was applied."""
    return replace(config, before=tuple((name, PortBefore(9000, True)) for name in sorted(config.ports)))


@pytest.mark.parametrize("name", CASES)
def test_the_commands_of_a_circuit(name: str) -> None:
    want = render(CASES[name], FACTS)
    text = f"# apply\n{commands(None, want)}\n# remove\n{commands(noted(want), None)}"
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("MEETME_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), "MEETME_GOLDEN=1 writes them anew"


def test_the_commands_of_a_change() -> None:
    before, after = render(ACROSS, FACTS), render(replace(PROTECTED, mtu=1400), FACTS)
    text = f"# there\n{commands(noted(before), after)}\n# and back\n{commands(noted(after), before)}"
    path = GOLDEN / "a-change-and-back.sh"
    if os.environ.get("MEETME_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), "MEETME_GOLDEN=1 writes them anew"


@pytest.mark.parametrize(
    ("change", "kind", "code", "field"),
    [
        ({"a": (AccessEnd("eth9"),)}, NotFound, "port_unknown", "a[0].port"),
        ({"a": (AccessEnd("up0"),)}, Conflict, "port_has_addresses", "a[0].port"),
        ({"a": (AccessEnd("eth3", 7),)}, Conflict, "port_in_use", "a[0].port"),
        ({"a": (AccessEnd("eth3"),)}, Conflict, "port_in_use", "a[0].port"),
        ({"mtu": 1501}, InvalidInput, "mtu_too_large", "mtu"),
        ({"a": (AccessEnd("eth2"),), "mtu": 1501}, InvalidInput, "underlay_mtu_too_small", "mtu"),
        ({"b": (tunnel("fd09::1", "fd09::2", 1),)}, InvalidInput, "underlay_mtu_too_small", "mtu"),
        ({"b": (tunnel("10.9.1.9", "10.9.1.2", 1),)}, NotFound, "underlay_address_unknown", "b[0].local"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], kind: type[MeetMeError], code: str, field: str) -> None:
    with pytest.raises(kind) as failure:
        render(replace(ACROSS, **change), FACTS)  # type: ignore[arg-type]
    assert (failure.value.code, failure.value.field) == (code, field)
    assert failure.value.hint


def test_the_way_to_the_other_switch_counts_not_the_address() -> None:
    """The tunnel's own address may be on `lo`, and the longest prefix says by which port it leaves."""
    wide = replace(ACROSS, a=(AccessEnd("eth2"),), b=(tunnel("10.9.0.1", "10.9.2.2", 1),), mtu=9000)
    assert render(wide, FACTS)
    with pytest.raises(InvalidInput) as failure:
        render(replace(wide, b=(tunnel("10.9.0.1", "10.8.0.2", 1),)), FACTS)
    assert failure.value.code == "underlay_mtu_too_small"


def test_without_a_token_bucket_the_rest_is_in_force() -> None:
    parts = render(ACROSS, FACTS, shapes=False, apart=False).parts
    assert not any(isinstance(part, Shape | Apart) for part in parts)
    assert any(isinstance(part, Member) for part in parts)


ENDS = st.sampled_from(
    [
        AccessEnd("eth1"),
        AccessEnd("eth2"),
        AccessEnd("eth2", 5),
        AccessEnd("eth3", 9),
        tunnel("10.9.1.1", "10.9.1.2", 1),
        tunnel("10.9.1.1", "10.9.1.9", 1),
        tunnel("10.9.2.1", "10.9.2.2", 2),
        tunnel("10.9.1.1", "10.9.1.3", 3),
    ]
)


@st.composite
def intents(draw: st.DrawFn) -> SegmentIntent:
    ends = draw(
        st.lists(ENDS, min_size=2, max_size=3, unique_by=lambda e: e.port if isinstance(e, AccessEnd) else e.vni)
    )
    bandwidth = draw(st.sampled_from([None, 1, 100, 100_000]))
    mtu = draw(st.sampled_from([1280, 1400, 1500]))
    return replace(ACROSS, a=tuple(ends[:1]), b=tuple(ends[1:]), mtu=mtu, bandwidth=bandwidth)


class Switch:
    """What the steps do to a switch, told by the words of their commands alone."""

    def __init__(self, parts: frozenset[Part] = frozenset()) -> None:
        self.devices = {part.name for part in parts if isinstance(part, Bridge | Tunnel | Vlan)}
        self.masters = {part.name: part.bridge for part in parts if isinstance(part, Member)}
        self.floods = {part.name: part.floods for part in parts if isinstance(part, Member)}
        self.isolated = {part.name for part in parts if isinstance(part, Member) and part.preference}
        self.up = {part.name for part in parts if isinstance(part, Bridge | Member)}
        self.keeps: set[str] = {part.name for part in parts if isinstance(part, Bridge) and part.keeps_probes}
        uplinks = sorted(part.preference for part in parts if isinstance(part, Member) and part.preference)
        for part in parts:
            if isinstance(part, Member) and part.preference:
                self.floods[part.name] = part.preference == uplinks[0]

    def do(self, step: Step) -> None:
        if not isinstance(step, Run):
            assert isinstance(step, Set | NotePort)
            return
        words = step.line.split()
        if words[:2] == ["link", "add"]:
            name = words[words.index("name") + 1]
            assert name not in self.devices, f"{name} is there already"
            self.devices.add(name)
        elif words[:2] == ["link", "del"]:
            assert words[3] in self.devices
            for held in (self.devices, self.up, self.isolated):
                held.discard(words[3])
            self.masters = {m: b for m, b in self.masters.items() if words[3] not in (m, b)}
        elif words[:2] == ["link", "set"]:
            self._set(words[3], words[4:])
        elif words[0] == "fdb":
            assert words[2] == PROBE_MAC
            (self.keeps.add if words[1] == "replace" else self.keeps.discard)(words[4])
        if any(b in self.up for b in self.masters.values()):
            carrying = [m for m in self.isolated if self.floods.get(m) and m in self.masters and m in self.up]
            others = [m for m in self.masters if m not in self.isolated and m in self.up]
            assert len(carrying) <= 1, "both uplinks carry"
            assert len(others) <= 2 or not self.isolated, "an uplink is a member like any other"

    def _set(self, name: str, words: list[str]) -> None:
        said = dict(pairwise(words))
        if "master" in said:
            assert said["master"] in self.devices
            self.masters[name] = said["master"]
        if "nomaster" in words:
            self.masters.pop(name, None)
            self.isolated.discard(name)
        if "bridge_slave" in words:
            assert name in self.masters
            if "isolated" in said:
                (self.isolated.add if said["isolated"] == "on" else self.isolated.discard)(name)
            if "flood" in said:
                self.floods[name] = said["flood"] == "on"
        if "up" in words:
            self.up.add(name)
        if "down" in words:
            self.up.discard(name)


@given(intents(), intents())
def test_any_change_ends_as_wished_and_never_loops(first: SegmentIntent, second: SegmentIntent) -> None:
    before, after = render(first, FACTS), render(second, FACTS)
    assert steps(ACROSS.circuit, before, before) == ()
    switch = Switch()
    for have, want in ((None, before), (before, after)):
        for step in steps(ACROSS.circuit, have, want):
            switch.do(step)
        assert switch.masters == {part.name: part.bridge for part in want.parts if isinstance(part, Member)}
        assert switch.isolated == {part.name for part in want.parts if isinstance(part, Member) and part.preference}
        carried = [name for name, floods in switch.floods.items() if floods and name in switch.isolated]
        assert len(carried) == (1 if OneCarries(next(iter(switch.masters.values()))) in want.parts else 0)
        assert switch.keeps >= {part.name for part in want.parts if isinstance(part, Bridge) and part.keeps_probes}
    for step in steps(ACROSS.circuit, noted(after), None):
        switch.do(step)
    assert (switch.devices, switch.masters) == (set(), {})


@given(st.data())
def test_what_is_missing_is_made_and_what_is_too_much_goes(data: st.DataObject) -> None:
    want = render(data.draw(intents()), FACTS)
    bridge = next(part for part in want.parts if isinstance(part, Bridge))
    gone = data.draw(st.sets(st.sampled_from(sorted(want.parts, key=repr))))
    have = replace(
        noted(want), parts=want.parts - gone | data.draw(st.sets(st.just(Member("eth9", bridge.name, 1500))))
    )
    if bridge in gone:  # its members are out, then
        have = replace(have, parts=frozenset(p for p in have.parts if not isinstance(p, Member | OneCarries)))
    said = [step.command for step in steps(ACROSS.circuit, have, want)]
    assert bool(said) == (have.parts != want.parts)
    for part in want.parts - have.parts:
        if isinstance(part, Member | Tunnel | Vlan | Shape):
            assert any(part.name in command for command in said), part
    if any(isinstance(part, Member) and part.name == "eth9" for part in have.parts):
        assert "ip link set dev eth9 nomaster" in said
    assert not any("link del" in command and "eth" in command.split()[-1] and "." not in command for command in said)


def test_names_fit_the_kernel() -> None:
    assert vlan_name("enp129s0f1np1", 4094) == "129s0f1np1.4094"
    assert len(vlan_name("enp129s0f1np1", 7)) == 15


def test_a_path_is_up_where_both_ends_hear_each_other() -> None:
    way = Way()
    assert not way.look(0.0)
    way.hear(0.0, hears_us=False)
    assert not way.look(0.01)
    way.hear(0.1, hears_us=True)
    assert way.look(0.1)
    assert way.look(0.1 + 3 * INTERVAL)
    assert not way.look(0.1 + 4 * INTERVAL)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_the_choice(history: list[tuple[bool, bool]]) -> None:
    """At every tick one carries; it is up where either is; the preferred one is never gone back to in haste."""
    ways, carrying, well = [Way(), Way()], 0, 0.0
    for tick, heard in enumerate(history):
        now = tick * INTERVAL
        for way, yes in zip(ways, heard, strict=True):
            if yes:
                way.hear(now, hears_us=True)
        before, carrying = carrying, choose(ways, carrying, now)
        up = [way.look(now) for way in ways]
        well = well + INTERVAL if up[0] else 0.0
        assert up[carrying] or not any(up)
        if carrying != before:
            assert not up[before] or (carrying == 0 and well >= WELL_SECONDS)
