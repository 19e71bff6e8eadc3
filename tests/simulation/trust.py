"""What must hold whatever a peer says: policy, and that peers never see each other.

Told by what a member's operator wrote down and by what its routers are ordered to carry; no rule under test is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from meetme.model.addresses import Prefix, overlaps_any, within
from meetme.model.agreement import MemberId, Role
from meetme.model.intent import LinkIntent
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.states import State

if TYPE_CHECKING:
    from tests.simulation.device import Device
    from tests.simulation.layout import Home
    from tests.simulation.member import Member
    from tests.simulation.world import World

AGREED = {State.HELD, State.COMMITTED, State.CONFIRMING, State.ACTIVE}


def no_more_than_policy_allows(world: World, member: Member, device: Device, intent: LinkIntent) -> Iterator[str]:
    """4. Whatever a peer sends, the router is never told to carry what the policy does not let that peer announce."""
    peer = _led_to(world, member, device, intent)
    if peer is None:
        yield f"{member.id}'s router {device.router} is told of {intent.circuit}, which is not there"
        return
    home = member.home
    shown = tuple(mapping.inside for mapping in intent.local)
    if shown != home.settings.local_subnet and shown not in world.wished.get(member.id, ()):
        yield f"{member.id}'s router is told to show {peer} {[str(m.inside) for m in intent.local]}"
    for mapping in intent.remote:
        if not _may_announce(home, peer, mapping.wire) and not _is_alias(world, home, peer, mapping.wire):
            yield f"{member.id}'s router is told to take {mapping.wire} from {peer}, which its policy does not allow"
        if mapping.translated and not _is_alias(world, home, peer, mapping.inside):
            yield f"{member.id}'s router is told to call {peer} {mapping.inside}, which is in nobody's pool"
        if overlaps_any(mapping.inside, home.settings.local_subnet):
            yield f"{member.id}'s router is told to call {peer} {mapping.inside}, which is its own network"
    n = member.known.get(intent.agreement)
    agreements = (n.agreement, n.change.agreement if n.change else None) if n is not None else ()
    for agreement in agreements:
        for prefix in agreement.side(n.role.other).prefixes if agreement and n else ():
            if not _may_announce(home, peer, prefix.real):
                yield f"{member.id} has agreed to {prefix.real} of {peer}, which its policy does not allow"


def _led_to(world: World, member: Member, device: Device, intent: LinkIntent) -> MemberId | None:
    """Whom a circuit leads to, if it lands at this port."""
    circuit = world.layout.by_name.get(intent.circuit)
    if circuit is not None:
        end, n = circuit.end(member.id), member.known.get(intent.agreement)
        peer = n.peer if n is not None and not circuit.named else circuit.peer(member.id)
        return peer if (end.router, end.port) == (device.router, intent.port) else None
    names = intent.circuit.removeprefix("direct:").split(":")
    others = [MemberId(name) for name in names if name != member.id]
    spare = member.home.settings.attachment()
    here = spare is not None and (spare.router, spare.port) == (device.router, intent.port)
    return others[0] if here and len(names) == 2 and len(others) == 1 and others[0] in world.layout.by_id else None


def _may_announce(home: Home, peer: MemberId, prefix: Prefix) -> bool:
    allowed = home.policy(peer).announce
    return prefix.prefixlen > 0 and (not allowed or any(within(prefix, one) for one in allowed))


def _is_alias(world: World, home: Home, peer: MemberId, prefix: Prefix) -> bool:
    """Whether it comes from the pool of either side: an alias has to be free here, which is another invariant."""
    theirs = world.layout.by_id[peer].settings.private_networks
    return any(within(prefix, pool) for pool in (*home.settings.private_networks, *theirs))


def nobody_sees_another(world: World, member: Member) -> Iterator[str]:
    """4. What one peer is called at a member, no other is called as well."""
    names = [
        (circuit, [m.inside for m in intent.remote]) for _, circuit, intent in member.carried() if intent is not None
    ]
    for (one, mine), (other, theirs) in combinations(names, 2):
        if any(overlaps_any(prefix, theirs) for prefix in mine):
            yield f"{member.id} calls two peers the same, on {one} and on {other}"


def no_more_agreements_than_allowed(world: World, member: Member) -> Iterator[str]:
    """4. A peer never has more agreements of its making than the policy lets it have, nor one without an order."""
    for peer, policy in member.home.policies.items():
        theirs = [n for n in member.known.values() if (n.peer, n.role) == (peer, Role.RESPONDER) and n.state in AGREED]
        most = policy.max_agreements
        if most is not None and most < len(theirs) and not world.databases_lost:
            yield f"{member.id} has {len(theirs)} agreements that {peer} has asked for"
        if policy.order_required and any(n.order is None for n in theirs):
            yield f"{member.id} has agreed with {peer} without an order"


def everybody_keeps_to_its_circuits(world: World, member: Member, n: Negotiation) -> Iterator[str]:
    """4. A circuit that leads to one peer is agreed on with nobody else."""
    circuit = world.layout.by_name.get(n.circuit)
    if circuit is not None and circuit.named and n.state in AGREED and n.peer != circuit.peer(member.id):
        yield f"{member.id} has agreed with {n.peer} on {n.circuit}, which leads to {circuit.peer(member.id)}"
