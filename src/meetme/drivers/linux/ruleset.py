"""The nftables ruleset of one circuit's namespace, as text (`nft(8)`). Pure.

One idea carries it: **a packet that is allowed is marked, and only marked packets find a route**. Whoever removes the
ruleset, or any rule of it, stops traffic; nothing of it, removed, lets anything through.

    prerouting   mark what the agreement allows, by where it came in, before any translation
    dstnat       destination, one to one (NETMAP)
    forward      fixed MSS; the router's own addresses answer probes alone
    srcnat       source, one to one
    postrouting  errors get a source that the receiver can know; nothing untranslated leaves
    input/output neighbour discovery, and the errors that this namespace makes

Prefixes are elements of named sets, which a change adds to and takes from: a set that is loaded anew is empty for a
moment after its rules count (seen on Linux 6.18), and whatever needs it then is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from meetme.drivers.linux.names import FROM_CIRCUIT, FROM_INSIDE
from meetme.model.addresses import Address, Prefix, within
from meetme.model.intent import LinkIntent, Mapping

TABLE = "meetme"
_ERRORS = {
    4: "icmp type { destination-unreachable, time-exceeded, parameter-problem }",
    6: "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }",
}
_IP = {4: "ip", 6: "ip6"}
_ECHO = {4: "icmp type echo-request", 6: "icmpv6 type echo-request"}
_TCP_HEADERS = {4: 40, 6: 60}
"""Octets of IP and TCP header without options: the MSS is the MTU less these (RFC 9293 section 3.7.1)."""
_DISCOVERY = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"


def ruleset(intent: LinkIntent, *, circuit: str, inside: str, own: Iterable[Prefix]) -> str:
    """The whole text.

    `circuit` and `inside` are the interfaces towards the peer and towards the router; `own` are the addresses that the
    router itself would answer (as seen inside).
    """
    x, u = f'iifname "{circuit}"', f'iifname "{inside}"'
    ox, ou = f'oifname "{circuit}"', f'oifname "{inside}"'
    pre, forward, router, post, output = ([] for _ in range(5))
    dstnat: list[str] = []
    srcnat: list[str] = []
    forward_router: list[str] = []
    sets: list[str] = []
    own = tuple(own)
    for version in (4, 6):
        local = [m for m in intent.local if m.inside.version == version]
        remote = [m for m in intent.remote if m.inside.version == version]
        if not local or not remote:
            continue
        ip, errors = _IP[version], _ERRORS[version]
        sets += [
            _named("set", f"local_inside{version}", version, _elements(m.inside for m in local)),
            _named("set", f"local_wire{version}", version, _elements(m.wire for m in local)),
            _named("set", f"remote_inside{version}", version, _elements(m.inside for m in remote)),
            _named("set", f"remote_wire{version}", version, _elements(m.wire for m in remote)),
        ]
        local_inside, local_wire = f"@local_inside{version}", f"@local_wire{version}"
        remote_inside, remote_wire = f"@remote_inside{version}", f"@remote_wire{version}"

        pre += [
            f"{u} {ip} saddr {local_inside} {ip} daddr {remote_inside} meta mark set {FROM_INSIDE}",
            f"{x} {ip} saddr {remote_wire} {ip} daddr {local_wire} meta mark set {FROM_CIRCUIT}",
            # errors come from whichever hop made them; conntrack knows whether they answer a flow of ours
            f"{u} {ip} daddr {remote_inside} ct state related {errors} meta mark set {FROM_INSIDE}",
            f"{x} {ip} daddr {local_wire} ct state related {errors} meta mark set {FROM_CIRCUIT}",
        ]
        forward.append(
            f"meta nfproto ipv{version} tcp flags syn tcp option maxseg size set {intent.mtu - _TCP_HEADERS[version]}"
        )
        mine = [p for p in own if p.version == version and any(within(p, m.inside) for m in local)]
        if mine:
            sets.append(_named("set", f"router{version}", version, _elements(mine)))
            forward_router.append(f"{x} {ip} daddr @router{version} jump router")
        answers = intent.probe_in(version)
        if answers is not None:
            router.append(f"{ip} daddr {answers} {_ECHO[version]} accept")
        for chain, match, verb, field, name, pairs in (
            (dstnat, u, f"dnat {ip}", f"{ip} daddr", f"to_remote{version}", [(m.inside, m.wire) for m in remote]),
            (dstnat, x, f"dnat {ip}", f"{ip} daddr", f"to_local{version}", [(m.wire, m.inside) for m in local]),
            (srcnat, ox, f"snat {ip}", f"{ip} saddr", f"from_local{version}", [(m.inside, m.wire) for m in local]),
            (srcnat, ou, f"snat {ip}", f"{ip} saddr", f"from_remote{version}", [(m.wire, m.inside) for m in remote]),
        ):
            if elements := _pairs(pairs):
                sets.append(_named("map", name, version, elements))
                chain.append(f"{match} {verb} prefix to {field} map @{name}")
        known_there, known_here = (
            _speaker(local, answers, wire=True),
            _speaker(remote, intent.peer_probe_in(version), wire=False),
        )
        post += [
            f"{ox} {ip} saddr != {local_wire} {errors} {ip} saddr set {known_there}",
            f"{ou} {ip} saddr != {remote_inside} {errors} {ip} saddr set {known_here}",
            f"{ox} meta mark {FROM_INSIDE} {ip} saddr != {local_wire} drop",
            f"{ou} meta mark {FROM_CIRCUIT} {ip} saddr != {remote_inside} drop",
        ]
        output.append(f"meta mark {{ {FROM_CIRCUIT}, {FROM_INSIDE} }} {errors} accept")

    chains = [
        _chain("prerouting", "filter", "prerouting", "mangle", "accept", ["ct state invalid drop", *pre]),
        _chain("forward", "filter", "forward", "filter", "drop", [
            *forward,
            *forward_router,
            f"{x} {ou} meta mark {FROM_CIRCUIT} accept",
            f"{u} {ox} meta mark {FROM_INSIDE} accept",
        ]),
        _block("chain router", _lines(["ct direction reply accept", "ct state related accept", *router, "drop"])),
        _chain("postrouting", "filter", "postrouting", "150", "accept", post),
        _chain("input", "filter", "input", "filter", "drop", [f"{_DISCOVERY} ip6 hoplimit 255 accept"]),
        _chain("output", "filter", "output", "filter", "drop", [f"{_DISCOVERY} accept", *output]),
    ]  # fmt: skip
    if dstnat:
        chains.append(_chain("dstnat", "nat", "prerouting", "dstnat", "accept", dstnat))
        chains.append(_chain("srcnat", "nat", "postrouting", "srcnat", "accept", srcnat))
    body = "\n".join([*sets, *chains])
    return f"table inet {TABLE} {{\n{body}}}\n"


_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_BLOCK = re.compile(r"^\t(set|map|chain) (\w+) \{\n((?:\t\t.*\n)*)\t\}$", re.MULTILINE)
_ELEMENTS = re.compile(r"elements = \{ ([^}]*) \}")


@dataclass(frozen=True, slots=True)
class Meaning:
    """One thing that a ruleset does with a prefix, or with a pair: the set or map, and the element."""

    where: str
    element: str

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """What it is about."""
        return tuple(ip_network(prefix) for prefix in self.element.split(" : "))


def meanings(text: str) -> frozenset[Meaning]:
    """What a text of `ruleset` allows and translates, prefix by prefix. Nothing where it is no such text."""
    blocks = [(name, body) for kind, name, body in _BLOCK.findall(text) if kind != "chain"]
    return frozenset(
        Meaning(name, element)
        for name, body in blocks
        for elements in _ELEMENTS.findall(body)
        for element in elements.split(", ")
    )


def in_place_of(old: str, new: str) -> str:
    """The script that loads `new` where `old` is: no packet that both allow is lost.

    So a set keeps what stays in it, and a chain stays: a new one drops, by its policy, what passes before its rules
    count.
    """
    if not old:
        return new
    if not meanings(old):
        return f"flush ruleset\n{new}"
    before = {name: (kind, body) for kind, name, body in _BLOCK.findall(old)}
    now = {name: (kind, body) for kind, name, body in _BLOCK.findall(new)}
    chains = [name for name, (kind, _) in before.items() if kind == "chain" and now.get(name) != before[name]]
    gone = before.keys() - now.keys()
    lines = [f"flush chain inet {TABLE} {name}" for name in chains]
    lines += [f"delete {before[name][0]} inet {TABLE} {name}" for name in chains if name in gone]
    lines += [f"delete {kind} inet {TABLE} {name}" for name, (kind, _) in before.items() if name in gone - set(chains)]
    lines += _elements_changed(meanings(old), meanings(new), before.keys() & now.keys())
    blocks = [_block(f"{kind} {name}", body) for name, (kind, body) in now.items() if _reload(name, before, now)]
    return "\n".join(lines) + f"\ntable inet {TABLE} {{\n" + "\n".join(blocks) + "}\n"


def _reload(name: str, before: dict[str, tuple[str, str]], now: dict[str, tuple[str, str]]) -> bool:
    return name not in before or (now[name][0] == "chain" and now[name] != before[name])


def _elements_changed(old: frozenset[Meaning], new: frozenset[Meaning], stays: Collection[str]) -> Iterator[str]:
    for verb, changed in (("delete", old - new), ("add", new - old)):
        for meaning in sorted(changed, key=lambda m: (m.where, m.element)):
            if meaning.where in stays:
                yield f"{verb} element inet {TABLE} {meaning.where} {{ {meaning.element} }}"


def _pairs(pairs: Sequence[tuple[Prefix, Prefix]]) -> str:
    """The elements of a prefix map. nft accepts unequal lengths without a word: `render` has checked them."""
    changed = [(a, b) for a, b in pairs if a != b]
    return ", ".join(f"{a} : {b}" for a, b in sorted(changed, key=lambda pair: int(pair[0].network_address)))


def _speaker(mappings: Sequence[Mapping], probe: Address | None, *, wire: bool) -> Address:
    """Whose name an error gets that comes from an address the receiver cannot know: the side's probe address.

    A host behind a strict reverse-path filter would never see it otherwise. Without a probe address in this family, the
    first address of the side's first prefix.
    """
    for mapping in mappings:
        if probe is not None and probe.version == mapping.inside.version and probe in mapping.inside:
            return _counterpart(probe, mapping) if wire else probe
    prefix = mappings[0].wire if wire else mappings[0].inside
    return prefix[1] if prefix.num_addresses > 1 else prefix[0]


def _counterpart(address: Address, mapping: Mapping) -> Address:
    return mapping.wire[int(address) - int(mapping.inside.network_address)]


def _elements(prefixes: Iterable[Prefix]) -> str:
    ordered = sorted(set(prefixes), key=lambda p: (int(p.network_address), p.prefixlen))
    return ", ".join(str(p) for p in ordered)


def _named(kind: str, name: str, version: int, elements: str) -> str:
    target = f" : interval {_TYPES[version]}" if kind == "map" else ""
    return _block(
        f"{kind} {name}", f"\t\ttype {_TYPES[version]}{target}; flags interval;\n\t\telements = {{ {elements} }}\n"
    )


def _chain(name: str, kind: str, hook: str, priority: str, policy: str, rules: Sequence[str]) -> str:
    head = f"type {kind} hook {hook} priority {priority}; policy {policy};"
    return _block(f"chain {name}", _lines([head, *rules]))


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"\t\t{line}\n" for line in lines)


def _block(head: str, body: str) -> str:
    return f"\t{head} {{\n{body}\t}}\n"
