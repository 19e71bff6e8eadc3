"""The nftables ruleset of one circuit's namespace, as text (`nft(8)`). Pure.

One idea carries it: **a packet that is allowed is marked, and only marked packets find a route**. Whoever removes the
ruleset, or any rule of it, stops traffic; nothing of it, removed, lets anything through.

    prerouting   mark what the agreement allows, by where it came in, before any translation
    dstnat       destination, one to one (NETMAP)
    forward      fixed MSS; the router's own addresses answer probes alone
    srcnat       source, one to one
    postrouting  errors get a source that the receiver can know; nothing untranslated leaves
    input/output neighbour discovery, and the errors that this namespace makes
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
    pre, forward, router, dstnat, srcnat, post, output = ([] for _ in range(7))
    forward_router: list[str] = []
    own = tuple(own)
    for version in (4, 6):
        local = [m for m in intent.local if m.inside.version == version]
        remote = [m for m in intent.remote if m.inside.version == version]
        if not local or not remote:
            continue
        ip, errors = _IP[version], _ERRORS[version]
        local_inside, local_wire = _set(m.inside for m in local), _set(m.wire for m in local)
        remote_inside, remote_wire = _set(m.inside for m in remote), _set(m.wire for m in remote)

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
            forward_router.append(f"{x} {ip} daddr {_set(mine)} jump router")
        if intent.probe is not None and intent.probe.version == version:
            router.append(f"{ip} daddr {intent.probe} {_ECHO[version]} accept")
        dstnat += _translate(u, f"dnat {ip}", f"{ip} daddr", [(m.inside, m.wire) for m in remote])
        dstnat += _translate(x, f"dnat {ip}", f"{ip} daddr", [(m.wire, m.inside) for m in local])
        srcnat += _translate(ox, f"snat {ip}", f"{ip} saddr", [(m.inside, m.wire) for m in local])
        srcnat += _translate(ou, f"snat {ip}", f"{ip} saddr", [(m.wire, m.inside) for m in remote])
        known_there, known_here = (
            _speaker(local, intent.probe, wire=True),
            _speaker(remote, intent.peer_probe, wire=False),
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
        _block("chain router", ["ct direction reply accept", "ct state related accept", *router, "drop"]),
        _chain("postrouting", "filter", "postrouting", "150", "accept", post),
        _chain("input", "filter", "input", "filter", "drop", [f"{_DISCOVERY} ip6 hoplimit 255 accept"]),
        _chain("output", "filter", "output", "filter", "drop", [f"{_DISCOVERY} accept", *output]),
    ]  # fmt: skip
    if dstnat:
        chains.append(_chain("dstnat", "nat", "prerouting", "dstnat", "accept", dstnat))
        chains.append(_chain("srcnat", "nat", "postrouting", "srcnat", "accept", srcnat))
    body = "\n".join(chains)
    return f"table inet {TABLE} {{\n{body}}}\n"


def _translate(match: str, verb: str, field: str, pairs: Sequence[tuple[Prefix, Prefix]]) -> list[str]:
    """One prefix map. nft accepts unequal lengths without a word: `render` has checked them."""
    changed = [(a, b) for a, b in pairs if a != b]
    if not changed:
        return []
    elements = ", ".join(f"{a} : {b}" for a, b in sorted(changed, key=lambda pair: int(pair[0].network_address)))
    return [f"{match} {verb} prefix to {field} map {{ {elements} }}"]


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


def _set(prefixes: Iterable[Prefix]) -> str:
    ordered = sorted(set(prefixes), key=lambda p: (int(p.network_address), p.prefixlen))
    return "{ " + ", ".join(str(p) for p in ordered) + " }"


def _chain(name: str, kind: str, hook: str, priority: str, policy: str, rules: Sequence[str]) -> str:
    return _block(f"chain {name}", [f"type {kind} hook {hook} priority {priority}; policy {policy};", *rules])


def _block(head: str, lines: Sequence[str]) -> str:
    return f"\t{head} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"
