"""What must hold, checked after every commit and every change of a device.

Each function yields what is wrong, in words; its docstring is the invariant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection

from meetme.model.addresses import Prefix, overlaps
from meetme.model.agreement import Agreement, Role
from meetme.model.intent import LinkIntent, LinkState, Mapping
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
from meetme.negotiator.states import ENDED, State
from meetme.negotiator.states import Device as OnDevice
from meetme.runtime.ledger import Ledger

if TYPE_CHECKING:
    from tests.simulation.device import Device
    from tests.simulation.member import Member
    from tests.simulation.world import World

GOOD_SECONDS = 36.0
"""How long a message is good, and what the clocks may differ by."""
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
    if world.databases_lost:
        return
    for (one, initiator), (two, responder) in both_sides(world, id):
        if (one.id, id) in world.ever_active and (two.id, id) not in world.ever_active:
            yield f"{one.id} was active while {two.id} never was ({responder.state})"
        if (two.id, id) in world.ever_active and initiator.state in BEFORE_THE_DECISION:
            yield f"{two.id} was active while {one.id} is {initiator.state}"
        change = initiator.change
        over = change is not None and change.state in (State.FAILED, State.REFUSED) and initiator.state is State.ACTIVE
        if over and change is not None and responder.adopted == change.number:
            yield f"{one.id} says that change {change.number} has failed, and at {two.id} it is in force"


def both_sides(world: World, id: UUID) -> Iterator[tuple[tuple[Member, Negotiation], tuple[Member, Negotiation]]]:
    """Initiator and responder, where both know the negotiation and neither cheats."""
    for member in world.honest:
        n = member.known.get(id)
        other = world.members[n.peer] if n is not None and n.role is Role.INITIATOR else None
        theirs = other.known.get(id) if other is not None and not other.home.crooked else None
        if n and other and theirs and theirs.peer == member.id and theirs.role is Role.RESPONDER:
            yield (member, n), (other, theirs)


def ends_for_a_reason(world: World, member: Member, n: Negotiation) -> Iterator[str]:
    """4. What is active ends because a person says so, at one side or the other: no end disturbs another agreement."""
    before = member.known.get(n.id)
    ended = before is not None and before.state is State.ACTIVE and n.state is not State.ACTIVE
    if ended and n.id not in world.asked_to_end and not world.databases_lost and n.peer not in world.layout.crooks:
        yield f"{member.id}'s {world.label(n.id)} is {n.state}, and nobody has asked for that"


def what_is_in_force_stays(
    world: World, member: Member, device: Device, circuit: str, intent: LinkIntent | None
) -> Iterator[str]:
    """4. While an agreement is active and confirmed, nothing takes it off the router."""
    before = device.carried.get(circuit)
    n = member.known.get(before.agreement) if before is not None else None
    if n is None or n.state is not State.ACTIVE or n.device is not OnDevice.CONFIRMED:
        return
    if intent is None or before is None or intent.agreement != n.id or n.agreement is None:
        yield f"{member.id}'s router lets go of {world.label(n.id)}, which is in force"
        return
    known = {a.revision: a for a in (n.agreement, *n.leaving, *((n.change.agreement,) if n.change else ())) if a}
    after = known.get(intent.revision)
    if world.databases_lost:
        return
    if after is None:
        yield f"{member.id}'s router is told of revision {intent.revision} of {world.label(n.id)}, which nobody knows"
        return
    for role in Role:
        reals = {entry.real for entry in after.side(role).prefixes}
        stays = {(m.inside, m.wire) for m in (before.local if role is n.role else before.remote) if _stays(m, reals)}
        now = {(m.inside, m.wire) for m in (intent.local if role is n.role else intent.remote)}
        if stays - now:
            yield f"{member.id}'s router loses {sorted(map(str, stays - now))} of {world.label(n.id)}, which stays"


def _stays(mapping: Mapping, reals: set[Prefix]) -> bool:
    """Whether a mapping is of a prefix that the other agreement has as well, as far as this router can tell."""
    return mapping.inside in reals or mapping.wire in reals


def nothing_is_given_out_twice(world: World, member: Member, changed: Iterable[UUID]) -> Iterator[str]:
    """2. No prefix, port or circuit is ever given out twice."""
    for one in changed:
        mine = member.held[one]
        for other, theirs in member.held.items():
            if other == one:
                continue
            for (kind, a), (same, b) in ((x, y) for x in mine for y in theirs):
                if kind == same and (a == b or (kind == "prefix" and overlaps(a, b))):  # type: ignore[arg-type]
                    yield f"{member.id} has given {kind} {a} to {world.label(one)} and {b} to {world.label(other)}"
    for id, held in member.held.items():
        missing = {(kind, str(value)) for kind, value in held} - member.claims.get(id, set())
        if missing:
            yield f"{member.id} does not claim {sorted(missing)} for {world.label(id)}"


def reserved(n: Negotiation) -> set[Reserved]:
    """What nobody else may have while `n` is as it is: told by the design, not by the rules under test."""
    on_device = n.device is not OnDevice.ABSENT
    if n.released or (n.state in ENDED and not on_device):
        return set()
    if n.agreement is None and n.role is Role.RESPONDER:
        return set()
    found: set[Reserved] = {("port", f"{n.attachment.router}/{n.attachment.port}"), ("circuit", n.circuit)}
    if n.agreement is None:
        return found | {("prefix", p) for p in ((*n.offer.aliases, *n.offer.links) if n.offer else ())}
    found |= _addressed(n.agreement, n.role)
    if n.change is not None and n.change.agreement is not None and n.change.state not in ENDED:
        found |= _addressed(n.change.agreement, n.role)
    return found


def _addressed(agreement: Agreement, role: Role) -> set[Reserved]:
    found: set[Reserved] = set()
    for owner in Role:
        for entry in agreement.side(owner).prefixes:
            if role is owner.other or entry.translator is role:
                found.add(("prefix", entry.alias))
    if agreement.link.initiator is not None:
        found.add(("prefix", agreement.link.initiator.network))
    return found


def a_port_has_one_intent(world: World, member: Member) -> Iterator[str]:
    """2. The device never carries two intents on one port."""
    for device in member.devices.values():
        ports = [intent.port for intent in device.carried.values() if intent is not None]
        if len(set(ports)) < len(ports):
            yield f"{member.id}'s router carries two intents on one port"


def only_what_was_agreed_is_carried(world: World, member: Member) -> Iterator[str]:
    """4. Traffic that was not negotiated does not cross: the router carries what this member has signed, alone."""
    for device, circuit, intent in member.carried():
        if intent is None:
            continue
        n = member.known.get(intent.agreement)
        if n is None or n.agreement is None:
            if not world.databases_lost:
                yield f"{member.id}'s router carries {intent.agreement} on {circuit}, which nobody has agreed to"
            continue
        agreements = (n.agreement, *n.leaving, *((n.change.agreement,) if n.change and n.change.agreement else ()))
        wanted = [link_intent(a, n.role, n.attachment, generation=intent.generation) for a in agreements]
        if world.databases_lost and intent.revision > n.agreement.revision:
            continue  # what was agreed since the backup
        if intent not in wanted or device.router != n.attachment.router:
            yield f"{member.id}'s router carries something else on {circuit} than was agreed"


def what_is_carried_is_claimed(world: World, member: Member) -> Iterator[str]:
    """2. Whatever a router calls a peer, nobody else is given: also what a change adds, and what it gives up."""
    for _, circuit, intent in member.carried():
        n = member.known.get(intent.agreement) if intent is not None else None
        if n is None or intent is None or n.released or world.databases_lost:
            continue
        names = {mapping.inside for mapping in intent.remote} | {m.wire for m in intent.local if m.translated}
        names |= {intent.link.local.network} if intent.link is not None else set()
        missing = {str(name) for name in names} - {value for _, value in member.claims.get(n.id, ())}
        if missing:
            yield f"{member.id}'s router carries {sorted(missing)} on {circuit}, which nothing claims"


def tentative_until_decided(world: World, member: Member) -> Iterator[str]:
    """3. What is not decided yet goes by itself: until then it is on the device under a confirm timer that fires."""
    for device, circuit, kept in member.kept():
        n = member.known.get(kept.intent.agreement)
        if n is not None and n.state is State.COMMITTED and kept.state is LinkState.CONFIRMED:
            yield f"{member.id}'s configurator has confirmed {circuit} before anything was decided"
        since = world.tentative_since(member, device, circuit)
        if since is not None and world.now - since > DEVICE_CONFIRM_SECONDS + TENDING_SECONDS:
            yield f"{member.id}'s configurator has kept {circuit} tentative since {since:.1f}"


def nothing_waits_for_ever(world: World, member: Member) -> Iterator[str]:
    """2. What is held has a deadline: an offer, a hold or a commitment that leads to nothing ends by itself."""
    if not member.alive:
        return
    born = min(negotiator.born for negotiator in member.alive)
    for id, n in member.known.items():
        limit = WAITING.get(n.state)
        if limit is None:
            continue
        since = max(world.entered[member.id, id], born - limit)
        if world.now - since > limit + RECOVERY_SECONDS:
            yield f"{member.id}'s {world.label(id)} is {n.state} since {since:.1f}"


def undone_means_nothing_is_left(world: World, member: Member) -> Iterator[str]:
    """3. A negotiation that says that its device is clean has left nothing on it, nor anything that may come back."""
    carried = {intent.agreement for _, _, intent in member.carried() if intent is not None}
    kept = {kept.intent.agreement for _, _, kept in member.kept()}
    for id in carried | kept:
        n = member.known.get(id)
        if n is not None and n.device is OnDevice.ABSENT:
            where = "router carries" if id in carried else "configurator keeps"
            yield f"{member.id}'s {where} {world.label(id)}, which is {n.state} with nothing on the device"


def active_after_packets_crossed(world: World, member: Member) -> Iterator[str]:
    """5. Nothing is reported active before packets crossed, while both routers carried what was agreed."""
    for id, n in member.known.items():
        if n.state is State.ACTIVE and n.agreement and (id, n.agreement.revision) not in world.crossed:
            yield f"{member.id} reports {world.label(id)} active, and nothing has crossed"


def decided_in_time(world: World, member: Member, n: Negotiation) -> Iterator[str]:
    """1. The responder decides before its deadline, or never: what comes later finds it rolled back."""
    begun = world.committed_at.get((member.id, n.id))
    if n.state is State.ACTIVE and n.role is Role.RESPONDER and begun is not None:
        late = world.now - begun - DECIDE_SECONDS
        if late > 0:
            yield f"{member.id} has decided on {world.label(n.id)} {late:.1f} s after its deadline"


def change_decided_in_time(world: World, member: Member, n: Negotiation) -> Iterator[str]:
    """1. A change too is decided before the responder's deadline, or never."""
    before, begun = member.known.get(n.id), world.change_committed_at.get((member.id, n.id, n.adopted))
    if n.role is Role.INITIATOR or before is None or before.adopted == n.adopted or begun is None:
        return
    late = world.now - begun - DECIDE_SECONDS
    if late > 0:
        yield f"{member.id} has decided on a change of {world.label(n.id)} {late:.1f} s after its deadline"


def a_wrong_clock_is_named(world: World, member: Member, n: Negotiation) -> Iterator[str]:
    """7. Messages whose time is over do nothing, and whoever sent them is told that it is about the clocks."""
    replicas = len(member.negotiators) + len(world.members[n.peer].negotiators)
    if n.role is not Role.INITIATOR or replicas > 2:
        return
    behind = world.clock(f"{n.peer}/0").now() - world.clock(f"{member.id}/0").now()
    if behind > GOOD_SECONDS and n.state in (State.COMMITTED, State.CONFIRMING, State.ACTIVE):
        before = member.known.get(n.id)
        if before is None or before.state is not n.state:
            yield f"{member.id}'s clock is {behind:.0f} s behind, and {world.label(n.id)} is {n.state}"
    if behind > GOOD_SECONDS and n.state is State.REFUSED and n.problem and n.problem.code != "message_expired":
        yield f"{member.id}'s clock is {behind:.0f} s behind, and it is told {n.problem.code}"


# --- when an answer arrives -------------------------------------------------------------------------------------------


def answered_what_is_on_disk(world: World, member: Member, sender: str, message: UUID, answer: str) -> Iterator[str]:
    """6. Nothing is answered before it is on disk, and the same is answered ever after."""
    known = member.disk.run(lambda tx: store.MAILBOX.known(tx, sender, message))
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
    carried = [intent for _, _, intent in member.carried() if intent is not None]
    kept = [kept.intent for _, _, kept in member.kept()]
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
            if (known := store.MAILBOX.known(tx, sender, message)) is None or known.answer != answer
        ]

    yield from member.disk.run(lost)


# --- when all is quiet ------------------------------------------------------------------------------------------------


def both_say_the_same(world: World) -> Iterator[str]:
    """1. Both negotiators are in the same state once they can reach each other."""
    for member in world.honest:
        for id, n in member.known.items():
            other = world.members[n.peer]
            theirs = found.state if (found := other.known.get(id)) is not None else None
            if n.state not in ENDED and n.state is not State.ACTIVE:
                yield f"{world.label(id)} is still {n.state} at {member.id} ({theirs} at {other.id})"
            if n.state is State.ACTIVE and not other.home.crooked:
                if theirs is not State.ACTIVE:
                    yield f"{world.label(id)} is active at {member.id} and {theirs} at {other.id}"
                if not world.crosses(n.circuit):
                    yield f"{world.label(id)} is active, and packets do not cross"
                if found is not None and found.agreement != n.agreement:
                    yield f"{world.label(id)} is not the same at {member.id} and {other.id}"
                yield from _carries_what_is_in_force(world, member, n)
            if n.change is not None and n.change.state not in ENDED:
                yield f"{member.id}'s {world.label(id)} is being changed still ({n.change.state})"


def _carries_what_is_in_force(world: World, member: Member, n: Negotiation) -> Iterator[str]:
    """3. A change that failed has left the agreement in force on the router, as before; one that did not is there."""
    intent = member.devices[n.attachment.router].carried.get(n.circuit)
    generation = intent.generation if intent is not None else 0
    if n.agreement is None or intent != link_intent(n.agreement, n.role, n.attachment, generation=generation):
        yield f"{member.id}'s router does not carry {world.label(n.id)} as it is in force"


def nothing_is_left(world: World, member: Member) -> Iterator[str]:
    """3. After `terminate`, a failure or a rollback, router and database are as before: nothing left."""
    for id, n in member.known.items():
        if n.state not in ENDED:
            yield f"{member.id}'s {world.label(id)} has not ended ({n.state})"
        if n.device is not OnDevice.ABSENT:
            yield f"{member.id}'s {world.label(id)} is {n.state}, its device {n.device}"
        owed = member.disk.run(lambda tx, id=id: Ledger().owed(tx, NegotiationMachine.name, str(id)))  # type: ignore[misc]
        if owed:
            yield f"{member.id} still owes {[debt.key for debt in owed]} for {world.label(id)}"
    for device in member.devices.values():
        if device.carried:
            yield f"{member.id}'s router still carries {sorted(device.carried)}"
        if device.kept:
            yield f"{member.id}'s configurator still keeps {sorted(device.kept)}"
    if any(member.claims.values()):
        yield f"{member.id} still claims {sorted(c for s in member.claims.values() for c in s)}"
