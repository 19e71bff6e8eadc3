"""What must hold (DESIGN, section 8), checked after every commit and every change of a device.

Each function yields what is wrong, in words; its docstring is the invariant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection

from meetme.model.addresses import Prefix, overlaps
from meetme.model.agreement import Role
from meetme.model.intent import LinkState
from meetme.negotiator import store
from meetme.negotiator.intents import link_intent
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.messages import MessageType
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.reactions import (
    COMMIT_SECONDS,
    DECIDE_SECONDS,
    DEVICE_CONFIRM_SECONDS,
    HOLD_SECONDS,
    PROPOSE_SECONDS,
)
from meetme.negotiator.states import ENDED, Device, State
from meetme.runtime.ledger import Ledger

if TYPE_CHECKING:
    from tests.simulation.member import Member
    from tests.simulation.world import World

Reserved = tuple[str, str | Prefix]
TENDING_SECONDS = 20.0
"""How long a configurator that is up may take for what is due."""
RECOVERY_SECONDS = 50.0
"""After a start: until the leases of the process before have run out, and a slow disk."""
WAITING = {
    State.PROPOSED: PROPOSE_SECONDS + HOLD_SECONDS,
    State.HELD: HOLD_SECONDS,
    State.COMMITTED: COMMIT_SECONDS,
}
BEFORE_THE_DECISION = {State.PROPOSED, State.HELD, State.COMMITTED, State.REFUSED, State.SUPERSEDED, State.FAILED}


# --- at every moment --------------------------------------------------------------------------------------------------


def nobody_contradicts(world: World, id: UUID) -> Iterator[str]:
    """1. Until both are in the same state, neither reports what the other can contradict."""
    sides = {n.role: (member, n) for member in world.members.values() if (n := member.known.get(id))}
    if set(sides) != set(Role) or world.databases_lost:
        return
    (one, initiator), (two, responder) = sides[Role.INITIATOR], sides[Role.RESPONDER]
    if (one.id, id) in world.ever_active and (two.id, id) not in world.ever_active:
        yield f"{one.id} was active while {two.id} never was ({responder.state})"
    if (two.id, id) in world.ever_active and initiator.state in BEFORE_THE_DECISION:
        yield f"{two.id} was active while {one.id} is {initiator.state}"


def nothing_is_given_out_twice(world: World, member: Member) -> Iterator[str]:
    """2. No prefix, port or circuit is ever given out twice."""
    held = {id: reserved(n) for id, n in member.known.items()}
    for (one, mine), (other, theirs) in combinations(held.items(), 2):
        for (kind, a), (same, b) in ((x, y) for x in mine for y in theirs):
            if kind == same and (a == b or (kind == "prefix" and overlaps(a, b))):  # type: ignore[arg-type]
                yield f"{member.id} has given {kind} {a} to {world.label(one)} and {b} to {world.label(other)}"
    for id, mine in held.items():
        missing = {(kind, str(value)) for kind, value in mine} - member.claims.get(id, set())
        if missing:
            yield f"{member.id} does not claim {sorted(missing)} for {world.label(id)}"


def reserved(n: Negotiation) -> set[Reserved]:
    """What nobody else may have while `n` is as it is: told by the design, not by the rules under test."""
    on_device = n.device is not Device.ABSENT
    if n.released or (n.state in ENDED and not on_device):
        return set()
    if n.agreement is None and n.role is Role.RESPONDER:
        return set()
    found: set[Reserved] = {("port", f"r/{n.attachment.port}"), ("circuit", n.circuit)}
    if n.agreement is None:
        if n.offer is None:
            return found
        untranslated = (p for p in n.offer.peer_prefixes or () if p not in n.offer.need_alias)
        return found | {("prefix", p) for p in (*n.offer.aliases, *n.offer.links, *untranslated)}
    for role in Role:
        for entry in n.agreement.side(role).prefixes:
            if n.role is role.other or entry.translator is n.role:
                found.add(("prefix", entry.alias))
    if n.agreement.link.initiator is not None:
        found.add(("prefix", n.agreement.link.initiator.network))
    return found


def a_port_has_one_intent(world: World, member: Member) -> Iterator[str]:
    """2. The device never carries two intents on one port."""
    ports = [intent.port for intent in member.device.carried.values() if intent is not None]
    if len(set(ports)) < len(ports):
        yield f"{member.id}'s router carries two intents on one port"


def only_what_was_agreed_is_carried(world: World, member: Member) -> Iterator[str]:
    """4. Traffic that was not negotiated does not cross: the router carries what this member has signed, alone."""
    for circuit, intent in member.device.carried.items():
        if intent is None:
            continue
        n = member.known.get(intent.agreement)
        if n is None or n.agreement is None:
            if not world.databases_lost:
                yield f"{member.id}'s router carries {intent.agreement} on {circuit}, which nobody has agreed to"
            continue
        wanted = link_intent(n.agreement, n.role, n.attachment, generation=intent.generation)
        if intent != wanted:
            yield f"{member.id}'s router carries something else on {circuit} than was agreed"


def tentative_until_decided(world: World, member: Member) -> Iterator[str]:
    """3. What is not decided yet goes by itself: until then it is on the device under a confirm timer that fires."""
    for circuit, kept in member.device.kept.items():
        n = member.known.get(kept.intent.agreement)
        if n is not None and n.state is State.COMMITTED and kept.state is LinkState.CONFIRMED:
            yield f"{member.id}'s configurator has confirmed {circuit} before anything was decided"
        since = world.tentative_since(member, circuit)
        if since is not None and world.now - since > DEVICE_CONFIRM_SECONDS + TENDING_SECONDS:
            yield f"{member.id}'s configurator has kept {circuit} tentative since {since:.1f}"


def nothing_waits_for_ever(world: World, member: Member) -> Iterator[str]:
    """2. What is held has a deadline: an offer, a hold or a commitment that leads to nothing ends by itself."""
    if member.negotiator is None:
        return
    for id, n in member.known.items():
        limit = WAITING.get(n.state)
        if limit is None:
            continue
        since = max(world.entered[member.id, id], member.negotiator.born - limit)
        if world.now - since > limit + RECOVERY_SECONDS:
            yield f"{member.id}'s {world.label(id)} is {n.state} since {since:.1f}"


def undone_means_nothing_is_left(world: World, member: Member) -> Iterator[str]:
    """3. A negotiation that says that its device is clean has left nothing on it, nor anything that may come back."""
    for id, n in member.known.items():
        if n.device is not Device.ABSENT:
            continue
        if any(intent and intent.agreement == id for intent in member.device.carried.values()):
            yield f"{member.id}'s router carries {world.label(id)}, which is {n.state} with nothing on the device"
        if any(kept.intent.agreement == id for kept in member.device.kept.values()):
            yield f"{member.id}'s configurator keeps {world.label(id)}, which is {n.state} with nothing on the device"


def active_after_packets_crossed(world: World, member: Member) -> Iterator[str]:
    """5. Nothing is reported active before packets crossed, while both routers carried what was agreed."""
    for id, n in member.known.items():
        if n.state is State.ACTIVE and id not in world.crossed:
            yield f"{member.id} reports {world.label(id)} active, and nothing has crossed"


def decided_in_time(world: World, member: Member, n: Negotiation) -> Iterator[str]:
    """1. The responder decides before its deadline, or never: what comes later finds it rolled back."""
    begun = world.committed_at.get((member.id, n.id))
    if n.state is State.ACTIVE and n.role is Role.RESPONDER and begun is not None:
        late = world.now - begun - DECIDE_SECONDS
        if late > 0:
            yield f"{member.id} has decided on {world.label(n.id)} {late:.1f} s after its deadline"


# --- when an answer arrives -------------------------------------------------------------------------------------------


def answered_what_is_on_disk(world: World, member: Member, sender: str, message: UUID, answer: str) -> Iterator[str]:
    """6. Nothing is answered before it is on disk, and the same is answered ever after."""
    known = member.disk.run(lambda tx: store.known_message(tx, sender, message))
    kind = json.loads(answer)["type"]
    promises = kind in (MessageType.HOLD, MessageType.COUNTER, MessageType.COMMITTED, MessageType.ACTIVE)
    if known is None and promises:
        yield f"{member.id} answers {kind}, and has not written it down"
    if known is not None and known.answer != answer:
        yield f"{member.id} answers {kind}, which is not what it has written down"
    before = world.answers.get((member.id, sender, message))
    if before is not None and before != answer:
        yield f"{member.id} answers {kind} to a message that it answered otherwise before"


def terminated_means_undone(world: World, member: Member, id: UUID, answer: str) -> Iterator[str]:
    """3. Who answers `terminated` has taken everything back."""
    if json.loads(answer)["type"] != MessageType.TERMINATED:
        return
    carried = [i for i in member.device.carried.values() if i is not None]
    kept = [k.intent for k in member.device.kept.values()]
    if any(intent.agreement == id for intent in (*carried, *kept)):
        yield f"{member.id} answers terminated, and its router still has {world.label(id)}"


def what_was_acknowledged_is_there(world: World, member: Member) -> Iterator[str]:
    """6. What was acknowledged survives every crash."""
    for id in world.started.get(member.id, ()):
        if id not in member.known:
            yield f"{member.id} has acknowledged {world.label(id)} and does not know it"

    def lost(tx: Connection) -> list[str]:
        return [
            f"{member.id} has forgotten its answer to {message}"
            for (receiver, sender, message), answer in world.answers.items()
            if receiver == member.id
            if (known := store.known_message(tx, sender, message)) is None or known.answer != answer
        ]

    yield from member.disk.run(lost)


# --- when all is quiet ------------------------------------------------------------------------------------------------


def both_say_the_same(world: World) -> Iterator[str]:
    """1. Both negotiators are in the same state once they can reach each other."""
    ids = {id for member in world.members.values() for id in member.known}
    for id in ids:
        states = [member.known[id].state if id in member.known else None for member in world.members.values()]
        if State.ACTIVE in states and states != [State.ACTIVE, State.ACTIVE]:
            yield f"{world.label(id)} is {states[0]} at one side and {states[1]} at the other"
        if any(state is not None and state not in ENDED and state is not State.ACTIVE for state in states):
            yield f"{world.label(id)} is still {states[0]} and {states[1]}"
        if State.ACTIVE in states:
            circuit = next(m.known[id].circuit for m in world.members.values() if id in m.known)
            if not world.crosses(circuit):
                yield f"{world.label(id)} is active, and packets do not cross"


def nothing_is_left(world: World, member: Member) -> Iterator[str]:
    """3. After `terminate`, a failure or a rollback, router and database are as before: nothing left."""
    for id, n in member.known.items():
        if n.state not in ENDED:
            yield f"{member.id}'s {world.label(id)} has not ended ({n.state})"
        if n.device is not Device.ABSENT:
            yield f"{member.id}'s {world.label(id)} is {n.state}, its device {n.device}"
        owed = member.disk.run(lambda tx, id=id: Ledger().owed(tx, NegotiationMachine.name, str(id)))  # type: ignore[misc]
        if owed:
            yield f"{member.id} still owes {[debt.key for debt in owed]} for {world.label(id)}"
    if member.device.carried:
        yield f"{member.id}'s router still carries {sorted(member.device.carried)}"
    if member.device.kept:
        yield f"{member.id}'s configurator still keeps {sorted(member.device.kept)}"
    if any(member.claims.values()):
        yield f"{member.id} still claims {sorted(c for s in member.claims.values() for c in s)}"
