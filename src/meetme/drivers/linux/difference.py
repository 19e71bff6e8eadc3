"""From what is there to what is wished, as steps in a safe order. Pure.

Building goes from the inside out: the namespace and its ruleset first, the router's routes last, so that nothing passes
before everything is in force. Removing goes the other way.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

from meetme.drivers.kernel.tags import tag_of
from meetme.drivers.linux.config import (
    MAIN_RULE,
    CircuitConfig,
    Device,
    DeviceAddress,
    Neighbour,
    Part,
    PortBefore,
    Removable,
    Route,
    Rule,
    Sysctl,
    Where,
)
from meetme.drivers.linux.names import Names, names
from meetme.drivers.linux.ruleset import in_place_of, meanings
from meetme.model.addresses import Prefix


@dataclass(frozen=True, slots=True)
class Ip:
    """One line for `ip`. `$$` in it is the process that runs it: the router's own namespace."""

    where: Where
    line: str
    version: int = 4
    namespace: str = ""

    @property
    def command(self) -> str:
        """As typed in the router."""
        words = ["ip", *(["-6"] if self.version == 6 else []), *(["-n", self.namespace] if self.namespace else [])]
        return " ".join([*words, self.line])


@dataclass(frozen=True, slots=True)
class Set:
    """One kernel setting."""

    sysctl: Sysctl
    namespace: str = ""

    @property
    def command(self) -> str:
        """As typed in the router."""
        return f"{_inside(self.namespace)}sysctl -w {self.sysctl.key}={self.sysctl.value}"


@dataclass(frozen=True, slots=True)
class Load:
    """The ruleset, in one transaction, in the place of `over`, the text that was there."""

    namespace: str
    text: str
    over: str = ""

    @property
    def script(self) -> str:
        """What `nft` reads."""
        return in_place_of(self.over, self.text)

    @property
    def command(self) -> str:
        """As typed in the router."""
        return f"{_inside(self.namespace)}nft -f - <<'END'\n{self.script}END"


@dataclass(frozen=True, slots=True)
class MakeNamespace:
    """The namespace, or its name where only that is gone."""

    namespace: str

    @property
    def command(self) -> str:
        """As typed in the router."""
        return f"ip netns add {self.namespace}"


@dataclass(frozen=True, slots=True)
class DropNamespace:
    """The namespace and what we noted about the circuit."""

    namespace: str

    @property
    def command(self) -> str:
        """As typed in the router."""
        return f"ip netns del {self.namespace}"


@dataclass(frozen=True, slots=True)
class TakePort:
    """Move a port in, after noting how it was."""

    device: str
    namespace: str
    note: bool

    @property
    def command(self) -> str:
        """As typed in the router."""
        return f"ip link set dev {self.device} netns {self.namespace}"


@dataclass(frozen=True, slots=True)
class ForgetFlows:
    """Connections tracked under an older truth, in the namespace or in the router. Without prefixes: all of them."""

    namespace: str = ""
    prefixes: tuple[Prefix, ...] = ()

    @property
    def command(self) -> str:
        """As typed in the router."""
        inside = _inside(self.namespace)
        if not self.prefixes:
            return f"{inside}conntrack -F"
        forget = (f"{inside}conntrack -D -d {p}; {inside}conntrack -D -r {p}" for p in self.prefixes)
        return "; ".join(forget)


Step = Ip | Set | Load | MakeNamespace | DropNamespace | TakePort | ForgetFlows


def steps(circuit: str, have: CircuitConfig | None, want: CircuitConfig | None) -> tuple[Step, ...]:
    """What leads from `have` to `want`; empty where they are equal."""
    if have == want:
        return ()
    if want is None:
        return tuple(_remove(have)) if have is not None else ()
    if have is not None and (have.port, have.vlan) != (want.port, want.vlan):
        return (*_remove(have), *_change(_nothing(want), want))
    return tuple(_change(have if have is not None else _nothing(want), want))


def _nothing(want: CircuitConfig) -> CircuitConfig:
    return replace(want, named=False, parts=frozenset(), ruleset="", before=None)


def _change(have: CircuitConfig, want: CircuitConfig) -> Iterator[Step]:
    own = names(want.circuit)
    if not any(part.where is Where.CIRCUIT for part in have.parts):
        have = replace(
            have, parts=have.parts | {p for p in want.parts if isinstance(p, Rule) and p.priority == MAIN_RULE}
        )
    extra, missing = have.parts - want.parts, want.parts - have.parts
    # A route that only differs in what it says is replaced in its place: what stays never finds a hole.
    there = {part.place for part in extra if isinstance(part, Route)}
    extra -= {part for part in extra if isinstance(part, Route) and part.place in {_place(other) for other in missing}}
    if not have.named:
        yield MakeNamespace(own.namespace)
    inner = [part for part in missing if isinstance(part, Sysctl) and part.where is Where.CIRCUIT]
    tracking = {part for part in inner if part.key.startswith("net/netfilter/")}
    yield from _settings(set(inner) - tracking, Where.CIRCUIT, own)
    if have.ruleset != want.ruleset:
        yield Load(own.namespace, want.ruleset, have.ruleset)
    for where in (Where.ROUTER, Where.CIRCUIT):
        yield from (_ip(part, own, part.remove) for part in _ordered(extra, where) if isinstance(part, Removable))
    yield from _connect(have, want, own)
    yield from _settings(tracking, Where.CIRCUIT, own)  # they exist once a ruleset needs connection tracking
    yield from _additions(missing, Where.CIRCUIT, own, there)
    if have.ruleset and have.ruleset != want.ruleset:
        yield from _forget_inside(own, have.ruleset, want.ruleset)
    yield from _settings(missing, Where.ROUTER, own)
    yield from _additions(missing, Where.ROUTER, own, there)
    yield from _forget_in_router(have, want, extra, missing)


def _forget_inside(own: Names, old: str, new: str) -> Iterator[Step]:
    """What was allowed or translated otherwise. A ruleset that is not ours says nothing: then it is all."""
    before, now = meanings(old), meanings(new)
    if not before:
        yield ForgetFlows(own.namespace)
        return
    gone = {prefix for meaning in before - now for prefix in meaning.prefixes}
    if gone:
        yield ForgetFlows(own.namespace, tuple(sorted(gone, key=lambda p: (p.version, p))))


def _forget_in_router(
    have: CircuitConfig, want: CircuitConfig, extra: Iterable[Part], missing: Iterable[Part]
) -> Iterator[Step]:
    """What had another way before: all that is agreed when it is new, else what was added or withdrawn alone."""
    known = {p.prefix for p in have.parts if isinstance(p, Route) and p.where is Where.ROUTER}
    added = {p.prefix for p in missing if isinstance(p, Route) and p.where is Where.ROUTER}
    if added and not known & {p.prefix for p in want.parts if isinstance(p, Route) and p.where is Where.ROUTER}:
        yield ForgetFlows(prefixes=want.tracked)
        return
    withdrawn = {p.prefix for p in extra if isinstance(p, Route) and p.where is Where.ROUTER}
    if added - known or withdrawn:
        yield ForgetFlows(prefixes=tuple(sorted((added - known) | withdrawn, key=lambda p: (p.version, p))))


def _place(part: Part) -> object:
    return part.place if isinstance(part, Route) else None


def _connect(have: CircuitConfig, want: CircuitConfig, own: Names) -> Iterator[Step]:
    """The veth pair and the port, where they are not in place."""
    there = {(part.where, part.name): part for part in have.parts if isinstance(part, Device)}
    mtu = next((part.mtu for part in want.parts if isinstance(part, Device)), 1500)
    outer, inner = (Where.ROUTER, own.outer) in there, (Where.CIRCUIT, own.inner) in there
    if not (outer and inner):
        if outer:
            yield Ip(Where.ROUTER, f"link del dev {own.outer}")
        if inner:
            yield Ip(Where.CIRCUIT, f"link del dev {own.inner}", namespace=own.namespace)
        pair = f"link add name {own.outer} mtu {mtu} address {own.outer_mac} type veth"
        yield Ip(Where.ROUTER, f"{pair} peer name {own.inner} mtu {mtu} address {own.inner_mac} netns {own.namespace}")
        yield Ip(Where.ROUTER, f"link set dev {own.outer} alias {tag_of(want.circuit)}")
        yield Ip(Where.ROUTER, f"link set dev {own.outer} addrgenmode none")
    if (Where.CIRCUIT, want.device) not in there:
        if want.vlan is not None:
            yield Ip(Where.ROUTER, f"link add link {want.port} name {want.device} type vlan id {want.vlan}")
        yield TakePort(want.device, own.namespace, note=want.vlan is None)


def _remove(have: CircuitConfig) -> Iterator[Step]:
    own = names(have.circuit)
    devices = {(part.where, part.name) for part in have.parts if isinstance(part, Device)}
    inside = (Where.CIRCUIT, have.device) in devices
    if inside:
        if have.vlan is not None:
            yield Ip(Where.CIRCUIT, f"link del dev {have.device}", namespace=own.namespace)
        else:
            yield Ip(Where.CIRCUIT, f"link set dev {have.device} netns $$", namespace=own.namespace)
    if have.before is not None and have.vlan is None:
        yield from _restore(have.port, have.before)
    if (Where.ROUTER, own.outer) in devices:
        yield Ip(Where.ROUTER, f"link del dev {own.outer}")  # its routes and addresses go with it
    for part in _ordered(have.parts, Where.ROUTER):
        if isinstance(part, Route) and part.device is None:
            yield _ip(part, own, part.remove)
    yield DropNamespace(own.namespace)
    prefixes = {p.prefix for p in have.parts if isinstance(p, Route) and p.where is Where.ROUTER} | set(have.tracked)
    if prefixes:
        yield ForgetFlows(prefixes=tuple(sorted(prefixes, key=lambda p: (p.version, p))))


def _restore(port: str, before: PortBefore) -> Iterator[Step]:
    """The port as it was before the circuit took it."""
    for key, value in before.sysctls:
        yield Set(Sysctl(Where.ROUTER, key, value))
    yield Ip(Where.ROUTER, f"link set dev {port} mtu {before.mtu} {'up' if before.up else 'down'}")
    if before.alias:
        yield Ip(Where.ROUTER, f'link set dev {port} alias "{before.alias}"')
    for address in before.addresses:
        yield Ip(Where.ROUTER, f"addr replace {address} dev {port}" + (" nodad" if address.version == 6 else ""))


def _settings(parts: Iterable[Part], where: Where, own: Names) -> Iterator[Step]:
    namespace = own.namespace if where is Where.CIRCUIT else ""
    for part in sorted((p for p in parts if isinstance(p, Sysctl) and p.where is where), key=lambda p: p.key):
        yield Set(part, namespace)


def _additions(
    parts: Iterable[Part], where: Where, own: Names, there: Container[object] = frozenset()
) -> Iterator[Step]:
    """`there`: the places of routes that are replaced."""
    for part in _ordered(parts, where):
        if isinstance(part, Route) and part.place in there:
            yield _ip(part, own, part.replace)
        elif not isinstance(part, Sysctl):
            yield _ip(part, own, part.add)


def _ip(part: Device | Removable, own: Names, line: str) -> Ip:
    version = part.version if isinstance(part, Rule) else 4
    return Ip(part.where, line, version, own.namespace if part.where is Where.CIRCUIT else "")


_ORDER: tuple[type[Part], ...] = (Sysctl, Device, DeviceAddress, Neighbour, Route, Rule)


def _ordered(parts: Iterable[Part], where: Where) -> list[Part]:
    """Devices before addresses before routes; IPv4 rules before IPv6 ones, which take another call of `ip`."""
    return sorted((p for p in parts if p.where is where), key=lambda p: (_ORDER.index(type(p)), _text(p)))


def _text(part: Part) -> str:
    if isinstance(part, Rule):
        return f"{part.version} {part.priority:05}"
    if isinstance(part, Route):
        # the closed route beneath comes first, the open one above it last
        return f"{part.device is not None} {part.table:05} {part.prefix.version} {int(part.prefix.network_address):039}"
    return repr(part)


def _inside(namespace: str) -> str:
    return f"ip netns exec {namespace} " if namespace else ""
