"""From what is there to what is wished, as steps in a safe order. Pure.

A bridge forwards nothing before it is up, and it comes up last: no frame passes before everything is in force. Removing
begins with the bridge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from meetme.drivers.fabric.config import (
    ETHERNET,
    GROUPS,
    GROUPS_OF_MEMBER,
    PORT,
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
    bridge_name,
)
from meetme.drivers.kernel.tags import tag_of

PartT = TypeVar("PartT", Bridge, Tunnel, Vlan, Member, Shape, OneCarries, Apart)

APART = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables", "net/bridge/bridge-nf-call-arptables")  # fmt: skip  # noqa: E501


@dataclass(frozen=True, slots=True)
class Run:
    """One line for `ip`, `bridge` or `tc`."""

    program: str
    line: str

    @property
    def command(self) -> str:
        """As typed in the switch."""
        return f"{self.program} {self.line}"


@dataclass(frozen=True, slots=True)
class Set:
    """One kernel setting; `key` is its path below /proc/sys. `noted`: what it was comes back with the last circuit."""

    key: str
    value: str
    noted: bool = False

    @property
    def command(self) -> str:
        """As typed in the switch."""
        return f"sysctl -w {self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class NotePort:
    """Write down how a port is before it is changed."""

    name: str

    @property
    def command(self) -> str:
        """As a person would."""
        return f"ip -d addr show dev {self.name}  # noted, to give it back just so"


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing is left to take away but the note: whoever wrote it did not come any further."""

    circuit: str

    @property
    def command(self) -> str:
        """As a person would read it."""
        return f"# nothing of '{self.circuit}' is left on the switch: its note goes"


Step = Run | Set | NotePort | Forget


def steps(circuit: str, have: SegmentConfig | None, want: SegmentConfig | None) -> tuple[Step, ...]:
    """What leads from `have` to `want`; empty where they are equal."""
    if want is None:
        return (tuple(_remove(have)) or (Forget(circuit),)) if have is not None else ()
    here = have if have is not None else SegmentConfig(circuit, frozenset())
    if here.parts - {Apart()} == want.parts - {Apart()} and (Apart() in here.parts or Apart() not in want.parts):
        return ()
    return tuple(_change(here, want))


def _change(have: SegmentConfig, want: SegmentConfig) -> Iterator[Step]:
    anew = _made(have.parts - want.parts)  # with them goes what they are in the bridge
    there = frozenset(p for p in have.parts if not (isinstance(p, Member | Shape) and p.name in anew))
    missing, extra = want.parts - there, have.parts - want.parts
    noted = {name for name, _ in have.before}
    yield from (NotePort(name) for name in sorted(want.ports - noted))
    yield from _take_away(have, want, extra)
    if Apart() in missing:
        yield from (Set(key, "0", noted=True) for key in APART)
    yield from _make(have, missing, want.circuit)
    devices = [*(b.name for b in _of(missing, Bridge)), *(m.name for m in _of(missing, Member))]
    yield from (Set(f"net/ipv6/conf/{name}/disable_ipv6", "1") for name in devices)
    yield from _keep_probes(have, missing)
    inside = {m.name for m in _of(there, Member) if m.bridge == bridge_name(want.circuit)}
    moved = any(member.preference for member in _of(missing | extra, Member))
    carrier = _carrier(have, want) if OneCarries in map(type, missing) or (moved and _uplinks(want)) else None
    if carrier is not None:  # whoever is to be silent is so before another one speaks
        yield from (_flood(m.name, False) for m in _uplinks(want) if m.name in inside and m.name != carrier)
    for member in sorted(_of(missing, Member), key=lambda member: member.name == carrier):
        yield from _join(member, member.name in inside, carrier)
    yield from (Run("tc", shape_line(shape)) for shape in _of(missing, Shape))
    if carrier is not None:
        yield _flood(carrier, True)
    yield from (Run("ip", f"link set dev {bridge.name} up") for bridge in _of(missing, Bridge))


def _take_away(have: SegmentConfig, want: SegmentConfig, extra: Iterable[Part]) -> Iterator[Step]:
    """What is not wished, or not so: tunnels and VLANs are made anew, a port that somebody else put in goes out."""
    staying = {m.name for m in _of(want.parts, Member)}
    gone = _made(extra)
    yield from (Run("ip", f"link del dev {name}") for name in sorted(gone))
    before = dict(have.before)
    for member in _of(extra, Member):
        if member.name not in staying and member.name not in gone:
            yield from _let_go(member.name, before.get(member.name))
    shaped = {s.name for s in _of(want.parts, Shape)} | gone
    for shape in _of(extra, Shape):
        unshaped = shape.name not in shaped and shape.name not in before
        spoilt = shape.name in shaped - gone and not shape.plain  # to change it would leave what is beneath it
        if unshaped or spoilt:
            yield Run("tc", f"qdisc del dev {shape.name} root")
    for name, port in have.before:
        if name not in staying and name not in {m.name for m in _of(extra, Member)}:
            yield from _restore(name, port)


def _make(have: SegmentConfig, missing: Iterable[Part], circuit: str) -> Iterator[Step]:
    there = {b.name for b in _of(have.parts, Bridge)}
    for bridge in _of(missing, Bridge):
        if bridge.name not in there:
            yield Run("ip", f"link add name {bridge.name} mtu {bridge.mtu} type bridge")
        yield from _tag(bridge.name, circuit)
        plain = f"stp_state 0 mcast_snooping 0 group_fwd_mask {GROUPS:#x}"
        yield Run("ip", f"link set dev {bridge.name} mtu {bridge.mtu} type bridge {plain}")
    for tunnel in _of(missing, Tunnel):
        ends = f"local {tunnel.local} remote {tunnel.remote} dstport {PORT}"
        yield Run("ip", f"link add name {tunnel.name} type vxlan id {tunnel.vni} {ends} nolearning df set ttl 64")
        yield from _tag(tunnel.name, circuit)
    for vlan in _of(missing, Vlan):
        yield Run("ip", f"link add link {vlan.port} name {vlan.name} type vlan id {vlan.vlan}")
        yield from _tag(vlan.name, circuit)


def _tag(name: str, circuit: str) -> Iterator[Step]:
    yield Run("ip", f"link set dev {name} alias {tag_of(circuit)}")
    yield Run("ip", f"link set dev {name} addrgenmode none")


def _keep_probes(have: SegmentConfig, missing: Iterable[Part]) -> Iterator[Step]:
    kept = {b.name for b in _of(have.parts, Bridge) if b.keeps_probes}
    for bridge in _of(missing, Bridge):
        if bridge.keeps_probes and bridge.name not in kept:
            yield Run("bridge", f"fdb replace {PROBE_MAC} dev {bridge.name} self local")
        elif not bridge.keeps_probes and bridge.name in kept:
            yield Run("bridge", f"fdb del {PROBE_MAC} dev {bridge.name} self local")


def _join(member: Member, inside: bool, carrier: str | None) -> Iterator[Step]:
    """Into the bridge. An uplink is down until it is known to the bridge as one: two of them would make a loop."""
    if inside:
        yield Run("ip", f"link set dev {member.name} mtu {member.mtu}")
    else:
        down = " down" if member.preference else ""
        yield Run("ip", f"link set dev {member.name} mtu {member.mtu} master {member.bridge}{down}")
    words = [f"learning off group_fwd_mask {GROUPS_OF_MEMBER:#x} isolated {'on' if member.preference else 'off'}"]
    if member.preference:
        words.append(f"cost {member.preference}")
    if not inside or member.floods is not None:
        words.append(floods(member.floods is True))
    elif carrier is not None:
        words.append(floods(member.name == carrier))
    yield Run("ip", f"link set dev {member.name} type bridge_slave {' '.join(words)}")
    yield Run("ip", f"link set dev {member.name} up")


def floods(yes: bool) -> str:
    """Whether frames leave by a member: there is no other way out, since nothing is learned."""
    word = "on" if yes else "off"
    return f"flood {word} mcast_flood {word} bcast_flood {word}"


def _carrier(have: SegmentConfig, want: SegmentConfig) -> str:
    """Of the uplinks the one that carries frames already, else the preferred one; probes may tell otherwise later."""
    carried = {have.carrying, *(m.name for m in _of(have.parts, Member) if m.floods)}
    return min(_uplinks(want), key=lambda member: (member.name not in carried, member.preference)).name


def _uplinks(config: SegmentConfig) -> list[Member]:
    return [member for member in _of(config.parts, Member) if member.preference]


def _flood(name: str, yes: bool) -> Step:
    return Run("ip", f"link set dev {name} type bridge_slave {floods(yes)}")


def shape_line(shape: Shape) -> str:
    """A token bucket. The handle is the MTU, which the kernel does not tell otherwise."""
    bucket = f"rate {shape.bits}bit burst {shape.burst}b limit {shape.limit}b peakrate {shape.peak}bit"
    return f"qdisc replace dev {shape.name} root handle {shape.mtu:x}: tbf {bucket} mtu {shape.mtu + ETHERNET}b"


def _remove(have: SegmentConfig) -> Iterator[Step]:
    for bridge in _of(have.parts, Bridge):
        yield Run("ip", f"link set dev {bridge.name} down")
    for name in sorted(_made(have.parts)):
        yield Run("ip", f"link del dev {name}")
    before, members = dict(have.before), {m.name for m in _of(have.parts, Member)}
    for name in sorted(have.ports):
        yield from _let_go(name, before.get(name))
    for name in sorted(before.keys() - members):
        yield from _restore(name, before[name])
    for bridge in _of(have.parts, Bridge):
        yield Run("ip", f"link del dev {bridge.name}")


def _let_go(name: str, before: PortBefore | None) -> Iterator[Step]:
    """Out of the bridge, and as it was where we know."""
    yield Run("ip", f"link set dev {name} nomaster")
    if before is not None:
        yield from _restore(name, before)


def _restore(name: str, before: PortBefore) -> Iterator[Step]:
    yield Run("tc", f"qdisc replace dev {name} root handle 1: pfifo")  # there may be none to take away
    yield Run("tc", f"qdisc del dev {name} root")
    yield Set(f"net/ipv6/conf/{name}/disable_ipv6", before.ipv6_off)
    yield Run("ip", f"link set dev {name} mtu {before.mtu} {'up' if before.up else 'down'}")
    for address in before.addresses:
        yield Run("ip", f"addr replace {address} dev {name}" + (" nodad" if address.version == 6 else ""))


def _made(parts: Iterable[Part]) -> set[str]:
    return {tunnel.name for tunnel in _of(parts, Tunnel)} | {vlan.name for vlan in _of(parts, Vlan)}


def _of(parts: Iterable[Part], kind: type[PartT]) -> list[PartT]:
    return sorted((part for part in parts if isinstance(part, kind)), key=repr)
