"""What a negotiation keeps from every other one."""

from __future__ import annotations

from collections.abc import Iterator

from meetme.model.agreement import AgreedPrefix, Agreement, Role
from meetme.negotiator.negotiation import Attachment, Claim, Negotiation
from meetme.negotiator.states import ENDED, Device
from meetme.negotiator.staying import fresh


def claims(n: Negotiation) -> frozenset[Claim]:
    """What this side keeps from every other negotiation, as a function of the state alone (invariant 2, rule 6)."""
    undone = n.device is Device.ABSENT and not n.left_on_device
    if n.released or (n.state in ENDED and undone):
        return frozenset()
    held = {Claim("port", port_claim(n.attachment)), Claim("circuit", n.circuit), *_announced(n)}
    for left in n.leaving:
        held |= _agreed(left, n.role)
    if n.change is not None and n.change.state not in ENDED:
        held |= claims(n.change)
    if n.agreement is not None:
        return frozenset(held | _agreed(n.agreement, n.role))
    if n.role is Role.INITIATOR and n.offer is not None:
        # What the peer announces and this side can have as it is, is as good as used from the offer on: the next peer
        # that announces the very same gets an alias.
        new = fresh(n.base, Role.RESPONDER, n.offer.peer_prefixes or ())
        untranslated = (p for p in new if p not in n.offer.need_alias)
        candidates = (*n.offer.aliases, *n.offer.links, *untranslated)
        return frozenset(held | {Claim("prefix", str(p), p) for p in candidates})
    return frozenset()


def _agreed(agreement: Agreement, role: Role) -> set[Claim]:
    """What an agreement puts into the routing of `role`'s side."""
    sides = ((Role.INITIATOR, agreement.initiator), (Role.RESPONDER, agreement.responder))
    mine = {_prefix(e) for owner, side in sides for e in side.prefixes if role in (owner.other, e.translator)}
    own_link = agreement.link.initiator
    return mine | ({Claim("prefix", str(own_link.network), own_link.network)} if own_link else set())


def _announced(n: Negotiation) -> Iterator[Claim]:
    """The own prefixes. Any number of negotiations may announce the same, but nothing of a peer may overlap them."""
    if n.agreement is not None:
        own = tuple(entry.real for entry in n.agreement.side(n.role).prefixes)
    else:
        own = n.offer.prefixes if n.role is Role.INITIATOR and n.offer is not None else ()
    for prefix in own:
        yield Claim("local", str(prefix), prefix)


def port_claim(attachment: Attachment) -> str:
    """How a claim names a port: a VLAN of it is one of its own."""
    vlan = f".{attachment.vlan}" if attachment.vlan is not None else ""
    return f"{attachment.router}/{attachment.port}{vlan}"


def _prefix(entry: AgreedPrefix) -> Claim:
    return Claim("prefix", str(entry.alias), entry.alias)
