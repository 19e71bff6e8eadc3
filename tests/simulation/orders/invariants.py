"""What has to hold. Each function says what is wrong; nothing, if all is well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from meetme.catalog.order import Order
from meetme.catalog.words import ENDED, Connectivity, Party, Presence, State, What
from tests.simulation.orders import times

if TYPE_CHECKING:
    from tests.simulation.orders.member import Member
    from tests.simulation.orders.world import World

ONCE = ("approve", "decline", "compose", "link", "attach", "negotiate", "verify", "active", "undo")


# --- at every transaction ---------------------------------------------------------------------------------------------


def every_step_once(member: Member, n: Order) -> Iterator[str]:
    """A finished step is not taken again."""
    names = [step.name for step in n.steps]
    twice = [name for name in ONCE if names.count(name) > 1]
    if twice:
        yield f"{member.id}: {twice} finished twice: {names}"


def ended_is_ended(world: World, member: Member, n: Order) -> Iterator[str]:
    """Who has ended stays so, and has nothing left at its own side, whatever the other one says."""
    before = member.known.get(n.id)
    if before is not None and before.state in ENDED and n.state is not before.state and not member.restored:
        yield f"{member.id}: {world.label(n.id)} was {before.state} and is {n.state}"
    if n.state in ENDED and not member.restored:
        for left in world.ground.left(member.id, n.id, buyer=n.party is Party.BUYER):
            yield f"{member.id}: {world.label(n.id)} is {n.state} and has {left} left"


def active_is_proven(world: World, member: Member, n: Order) -> Iterator[str]:
    """Active is what the own composer, the own negotiator and the service itself have shown, at this side."""
    before = member.known.get(n.id)
    if n.state is not State.ACTIVE or (before is not None and before.state is State.ACTIVE):
        return
    if n.wanted.connectivity is Connectivity.NONE:
        return
    ground, label = world.ground, world.label(n.id)
    if n.circuit.id not in ground.built:
        yield f"{member.id}: {label} is active, and its circuit never was"
    if n.wanted.connectivity is not Connectivity.L3:
        return
    if (member.id, n.circuit.id) not in ground.agreed:
        yield f"{member.id}: {label} is active, and its negotiation never was"
    if n.party is Party.BUYER and (member.id, n.circuit.id) not in ground.proven:
        yield f"{member.id}: {label} is active, and nobody has seen the service"


def approved_by_whom_it_concerns(world: World, member: Member, n: Order) -> Iterator[str]:
    """What a person has to decide, a person has decided."""
    past = n.party is Party.SELLER and n.state in (State.COMPOSING, State.LINKING, State.NEGOTIATING, State.ACTIVE)
    if past and n.offered is not None and n.offered.approval and n.id not in world.approved:
        yield f"{member.id}: {world.label(n.id)} is {n.state}, and nobody has approved it"


# --- where something is made or taken back ----------------------------------------------------------------------------


def not_made_again(member: Member, n: Order, what: What) -> Iterator[str]:
    """What is there, or is being taken back, is not made (again)."""
    presence = n.thing(what).presence
    if presence is not Presence.MAKING and not member.restored:
        yield f"{member.id}: the {what} is made although it is {presence}"


def taken_back_in_reverse(world: World, member: Member, n: Order, what: What) -> Iterator[str]:
    """The negotiation first, the circuit last; what refuses to go is waited for only so long."""
    if member.restored or world.now - member.entered.get(n.id, 0.0) >= times.PATIENCE - 1.0:
        return
    circuit = world.ground.circuits.get(n.id)
    if circuit is None:
        return
    talk = world.ground.talks.get(circuit.id)
    if talk is not None and talk.lives(member.id) and n.negotiation.known:
        yield f"{member.id}: takes the {what} of {world.label(n.id)} back before the negotiation"
    if what is What.CIRCUIT and (member.id, circuit.id) in world.ground.attachments and n.attachment.known:
        yield f"{member.id}: takes the circuit of {world.label(n.id)} back before the attachment"


def terminated_is_clean(world: World, member: Member, id: UUID) -> Iterator[str]:
    """Who says that nothing is left has nothing left."""
    n = member.known.get(id)
    if n is None or member.restored:
        return
    for left in world.ground.left(member.id, id, buyer=n.party is Party.BUYER):
        yield f"{member.id}: says that nothing of {world.label(id)} is left, and has {left}"


# --- in the end -------------------------------------------------------------------------------------------------------


def both_agree(world: World) -> Iterator[str]:
    """Everything is active at both or over at both."""
    for id in world.placed:
        sides = [world.members[m].known.get(id) for m in world.parties[id]]
        states = [None if n is None else n.state for n in sides]
        if any(member.crooked for member in map(world.members.__getitem__, world.parties[id])):
            continue
        over = [state is None or state in ENDED for state in states]
        if not (all(over) or all(state is State.ACTIVE for state in states)):
            yield f"{world.label(id)} is {states}"


def active_means_there(world: World) -> Iterator[str]:
    """What is active stands, at both ends."""
    for id in world.placed:
        for name in world.parties[id]:
            n = world.members[name].known.get(id)
            if n is None or n.state is not State.ACTIVE or n.wanted.connectivity is Connectivity.NONE:
                continue
            if any(world.members[m].crooked or world.members[m].restored for m in world.parties[id]):
                continue
            circuit = world.ground.circuits[id]
            if circuit.state != "active":
                yield f"{name}: {world.label(id)} is active, its circuit {circuit.state}"
            if n.wanted.connectivity is Connectivity.L3:
                standing = world.ground.talks[circuit.id].standing.get(name)
                if standing != "active" or (name, circuit.id) not in world.ground.attachments:
                    yield f"{name}: {world.label(id)} is active, its negotiation {standing}"


def nothing_hangs(world: World) -> Iterator[str]:
    """No honest member has an order that is neither active nor over."""
    for member in world.honest:
        for id, n in member.known.items():
            if n.state not in ENDED and n.state is not State.ACTIVE:
                yield f"{member.id}: {world.label(id)} is still {n.state}"


def nothing_is_left(world: World) -> Iterator[str]:
    """All is over: nothing stands, and nothing is owed."""
    for member in world.honest:
        for id, n in member.known.items():
            if n.state not in ENDED:
                yield f"{member.id}: {world.label(id)} is {n.state}"
            if member.restored:
                continue
            for left in world.ground.left(member.id, id, buyer=n.party is Party.BUYER):
                yield f"{member.id}: {world.label(id)} has {left} left"
        for instance, key in member.disk.raw.execute("SELECT instance, key FROM runtime_effect"):
            if UUID(instance) in member.known:
                yield f"{member.id}: {world.label(UUID(instance))} still owes {key}"


def nothing_is_lost(world: World) -> Iterator[str]:
    """What was acknowledged is on the disk of who has ordered it."""
    for id in world.acknowledged:
        buyer = world.members[world.parties[id][0]]
        if id not in buyer.known and not buyer.restored:
            yield f"{buyer.id}: {world.label(id)} is not known any more"
