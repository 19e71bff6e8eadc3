"""From an agreement to what one side's router is told. Pure."""

from __future__ import annotations

from ipaddress import ip_address

from meetme.model.addresses import Address, translate
from meetme.model.agreement import AgreedPrefix, AgreedSide, Agreement, Role
from meetme.model.intent import LinkAddresses, LinkIntent, Mapping, ProbeRequest
from meetme.negotiator.negotiation import Attachment

SMALL_PROBE = 84
"""Octets of IP packet: what a plain `ping` sends."""


def link_intent(agreement: Agreement, role: Role, attachment: Attachment, *, generation: int) -> LinkIntent:
    """The whole intent of `role`'s router. It translates exactly the prefixes whose translator it is."""
    own, peer = agreement.side(role), agreement.side(role.other)
    reached = [None if probe is None else as_reached(peer, probe) for probe in (peer.probe, peer.second_probe)]
    return LinkIntent(
        circuit=agreement.circuit,
        agreement=agreement.id,
        revision=agreement.revision,
        generation=generation,
        role=role,
        port=attachment.port,
        mtu=agreement.mtu,
        local=tuple(Mapping(p.real, p.alias if p.translator is role else p.real) for p in own.prefixes),
        remote=tuple(Mapping(p.alias, p.real if p.translator is role else p.alias) for p in peer.prefixes),
        link=_addresses(agreement, role),
        vlan=attachment.vlan,
        probe=own.probe,
        probe_source=own.probe,
        peer_probe=reached[0],
        second_probe=own.second_probe,
        second_peer_probe=reached[1],
    )


def _addresses(agreement: Agreement, role: Role) -> LinkAddresses | None:
    first, second = agreement.link.initiator, agreement.link.responder
    if first is None or second is None:
        return None
    return LinkAddresses(first, second) if role is Role.INITIATOR else LinkAddresses(second, first)


def as_reached(side: AgreedSide, address: Address) -> Address | None:
    """How the other side addresses `address` of `side`. None: it lies in none of the agreed prefixes."""
    found = _holding(side, address)
    return translate(address, found.real, found.alias) if found else None


def _holding(side: AgreedSide, address: Address) -> AgreedPrefix | None:
    return next((p for p in side.prefixes if address in p.real), None)


def probe_requests(
    agreement: Agreement, role: Role, *, target: Address | None, within: float, every: float | None = None
) -> tuple[ProbeRequest, ...]:
    """What to send so that packets are seen to cross, small and at full MTU. Empty: there is no address to do it with.

    Along the customers' path in every family in which both routers have a probe address, else over the link where it is
    numbered; then to `target`, an address of the peer's network, written as the peer does or as this side reaches it.
    """
    own, peer = agreement.side(role), agreement.side(role.other)
    sizes = (SMALL_PROBE, agreement.mtu)
    addresses = _addresses(agreement, role)
    first = [
        ProbeRequest(agreement.circuit, source, reached, sizes, within, every)
        for source in own.probes
        for probe in peer.probes
        if (reached := as_reached(peer, probe)) is not None and source.version == reached.version
    ]
    if not first and addresses is not None:
        local, remote = ip_address(addresses.local.ip), ip_address(addresses.peer.ip)
        first = [ProbeRequest(agreement.circuit, local, remote, sizes, within, every)]
    if target is not None and own.probes:
        end = as_reached(peer, target) or target
        source = next((a for a in own.probes if a.version == end.version), own.probes[0])
        first.append(ProbeRequest(agreement.circuit, source, end, sizes[:1], within, every))
    return tuple(first)


def families(agreement: Agreement) -> frozenset[int]:
    """4 and 6: in which ones hosts of both sides can address each other."""
    theirs = (frozenset(p.real.version for p in side.prefixes) for side in (agreement.initiator, agreement.responder))
    return frozenset.intersection(*theirs)


def host_target(agreement: Agreement, role: Role, target: Address | None) -> Address | None:
    """What the own host asks: `target`, else the peer's probe address, as this side reaches it, if it is the peer's."""
    peer = agreement.side(role.other)
    for address in (target, peer.probe):
        if address is not None:
            reached = as_reached(peer, address) or address
            if any(reached in prefix.alias for prefix in peer.prefixes):
                return reached
    return None


def along_the_path(request: ProbeRequest, agreement: Agreement) -> bool:
    """Whether a probe goes the customers' way, through the translation, and not just over the link."""
    link = agreement.link.initiator
    return link is None or request.target not in link.network
