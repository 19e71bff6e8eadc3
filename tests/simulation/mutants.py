"""Faults seeded into the rules, the loop, the inbox and the configurator: the ordinary run has to find each of them.

A mutant is a class that takes the place of the real one in `member.Parts`; no source is changed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from meetme.configurator.plan import Kept
from meetme.model.errors import Problem
from meetme.model.intent import LinkIntent, Removal
from meetme.negotiator import endings, store, wire
from meetme.negotiator import negotiation as ev
from meetme.negotiator.claims import claims
from meetme.negotiator.inbox import Inbox
from meetme.negotiator.machine import NegotiationMachine, write_effect
from meetme.negotiator.messages import TerminatedBody, Verified
from meetme.negotiator.negotiation import Answer, Claim, Event, Negotiation, Verb
from meetme.negotiator.performer import Performer
from meetme.negotiator.states import ENDED, Device, State
from meetme.runtime.ledger import Cancelled, Lease, Ledger, Owed, Step
from meetme.runtime.loop import Loop
from tests.simulation.device import Configurator
from tests.simulation.member import Parts

MUTANTS: dict[str, Parts] = {}
Effects = tuple[Owed | Cancelled, ...]


def mutant(part: str) -> Callable[[type], type]:
    """Register a class as a mutant of one part, under its name."""

    def register(cls: type) -> type:
        MUTANTS[cls.__name__] = Parts(**{part: cls})
        return cls

    return register


# --- the rules --------------------------------------------------------------------------------------------------------


class MutatedRules(NegotiationMachine):
    """The rules, with what they decide changed afterwards."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        return Step(step.state, self.effects(state, step.state, step.effects))

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        """What is owed."""
        return effects


def _without(effects: Effects, key: str) -> Effects:
    return tuple(e for e in effects if not (isinstance(e, Owed) and e.key == key))


def _verb(effect: Owed | Cancelled) -> str | None:
    return json.loads(effect.body)["verb"] if isinstance(effect, Owed) and effect.kind == "program" else None


@mutant("machine")
class DeadlineDropped(MutatedRules):
    """Nobody is woken when the time is over."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return _without(effects, "timer:Deadline")


@mutant("machine")
class NeverCompares(MutatedRules):
    """Who has lost its database is never told."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return _without(effects, "timer:CompareDue")


@mutant("machine")
class RemovalNotOwedAfterFailure(MutatedRules):
    """What failed stays on the device."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return tuple(e for e in effects if not (after.state is State.FAILED and _verb(e) == Verb.REMOVE))


@mutant("machine")
class TerminateNotSent(MutatedRules):
    """The peer is not told."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return _without(effects, "send:terminate")


@mutant("machine")
class DeviceNeverConfirmed(MutatedRules):
    """The confirm timer is never ended."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return tuple(e for e in effects if _verb(e) != Verb.CONFIRM)


@mutant("machine")
class AppliedWithoutTimer(MutatedRules):
    """What is not decided yet would stay on the device for ever."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return tuple(
            replace(e, body=json.dumps({**json.loads(e.body), "confirm_seconds": None}))
            if isinstance(e, Owed) and _verb(e) == Verb.APPLY
            else e
            for e in effects
        )


@mutant("machine")
class GenerationNotBumped(NegotiationMachine):
    """An order that was overtaken on its way is obeyed."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        if state is None or state.device is Device.ABSENT:
            return step
        effects = tuple(
            replace(e, body=json.dumps({**json.loads(e.body), "generation": state.generation}))
            if isinstance(e, Owed) and _verb(e) is not None
            else e
            for e in step.effects
        )
        return Step(replace(step.state, generation=state.generation), effects)


@mutant("machine")
class LateConfirmAccepted(NegotiationMachine):
    """The responder decides after its deadline."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if state is not None and isinstance(event, ev.ConfirmReceived):
            state = replace(state, deadline=None)
        return super().step(state, event)


@mutant("machine")
class InitiatorRollsBackAlone(NegotiationMachine):
    """After `confirm` the initiator gives up without having asked."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if state is not None and state.state is State.CONFIRMING and isinstance(event, ev.CompareDue):
            after, effects = endings.fail(state, Problem("gave_up", "gave up"), event.at)
            return Step(after, tuple(write_effect(effect) for effect in effects))
        return super().step(state, event)


@mutant("machine")
class ActiveBeforeTheDecision(NegotiationMachine):
    """The initiator reports active as soon as it has sent `confirm`."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        if step.state.state is State.CONFIRMING:
            return Step(replace(step.state, state=State.ACTIVE), step.effects)
        return step


@mutant("machine")
class DeviceLostIgnored(NegotiationMachine):
    """What the device has rolled back is not put back."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if state is not None and isinstance(event, ev.DeviceLost):
            return Step(replace(state, device=Device.CONFIRMED))
        return super().step(state, event)


@mutant("machine")
class TerminateAnsweredBeforeRemoval(NegotiationMachine):
    """The peer is told that all is undone when it is not yet."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        if isinstance(event, ev.TerminateReceived) and not step.state.answers:
            return Step(replace(step.state, answers=(Answer(event.message, TerminatedBody()),)), step.effects)
        return step


@mutant("machine")
class UnknownThereIsEndedHere(NegotiationMachine):
    """A peer that has lost its database takes the agreement with it."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if isinstance(event, ev.StateReceived) and event.state is None:
            event = replace(event, state=State.TERMINATED)
        return super().step(state, event)


@mutant("machine")
class LaterAnswersForgotten(NegotiationMachine):
    """What is answered when the work is done is not written down: the peer asks for ever."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        now = getattr(event, "message", None)
        return Step(replace(step.state, answers=tuple(a for a in step.state.answers if a.to == now)), step.effects)


# --- what is claimed --------------------------------------------------------------------------------------------------


class MutatedClaims(NegotiationMachine):
    """The machine, with other claims written than the rules say."""

    def save(self, tx: Connection, before: Negotiation | None, after: Negotiation, event: Event, now: float) -> None:
        super().save(tx, before, after, event, now)
        said = claims(after)
        held = self.held(before, after, said)
        if held != said:
            store.claim(tx, after.id, held)

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        """What is claimed instead."""
        return said


@mutant("machine")
class ClaimNotReleased(MutatedClaims):
    """What has ended keeps its circuit."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        return claims(replace(after, state=State.TERMINATING, released=False)) if after.state in ENDED else said


@mutant("machine")
class SupersededKeepsItsClaims(MutatedClaims):
    """Who gave way keeps what it had leased."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        if after.state is State.SUPERSEDED and after.offer is not None:
            return frozenset(Claim("prefix", str(p), p) for p in after.offer.aliases[:1]) or frozenset(
                {Claim("kept", "after all")}
            )
        return said


@mutant("machine")
class CandidateNotLeased(MutatedClaims):
    """What is offered to one peer is offered to the next."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        return frozenset(c for c in said if c.prefix is None) if after.state is State.PROPOSED else said


@mutant("machine")
class QuarantineDroppedEarly(MutatedClaims):
    """An alias is free again before the removal is verified."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        return frozenset() if after.state is State.TERMINATING else said


# --- the loop ---------------------------------------------------------------------------------------------------------


@mutant("loop")
class SettleNotAtomic(Loop[Negotiation, Event]):
    """The effect is gone in one transaction, its result is delivered in another."""

    def _settle(self, tx: Connection, lease: Lease, result: Any) -> bool:
        event = result(tx) if callable(result) else result
        settled = self._ledger.settle(tx, self._machine, lease, None, self._clock.now())
        if settled and event is not None:
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self.deliver(lease.instance, event)))
        return settled


@mutant("ledger")
class CancelIgnored(Ledger):
    """What is owed no more is done all the same."""

    def _owe(self, tx: Connection, machine: str, instance: str, effects: Sequence[Any], now: float) -> None:
        super()._owe(tx, machine, instance, [e for e in effects if isinstance(e, Owed)], now)


@mutant("ledger")
class LeaseIgnored(Ledger):
    """What is not due yet is taken, and what somebody holds is taken from him."""

    def lease(
        self, tx: Connection, machine_name: str, owner: str, now: float, limit: int, seconds: float
    ) -> list[Lease]:
        return super().lease(tx, machine_name, owner, now + 3600.0, min(limit, 1), seconds)


@mutant("ledger")
class PerformedAtMostOnce(Ledger):
    """A lease takes the effect off the list: who dies with it has forgotten it."""

    def lease(self, tx: Connection, *arguments: Any, **more: Any) -> list[Lease]:
        leases = super().lease(tx, *arguments, **more)
        for lease in leases:
            tx.execute(text("DELETE FROM runtime_effect WHERE id = :id"), {"id": lease.id})
        return leases

    def settle(self, tx: Connection, machine: Any, lease: Lease, event: Any, now: float) -> bool:
        if event is not None:
            self.deliver(tx, machine, lease.instance, event, now)
        return True


@mutant("ledger")
class FailedEffectForgotten(Ledger):
    """What was in vain is not tried again."""

    def postpone(self, tx: Connection, lease: Lease, now: float, after: float, note: str) -> bool:
        return tx.execute(text("DELETE FROM runtime_effect WHERE id = :id"), {"id": lease.id}).rowcount == 1


# --- messages ---------------------------------------------------------------------------------------------------------


class _RolledBack(Exception):
    def __init__(self, answer: str | None) -> None:
        self.answer = answer


@mutant("inbox")
class AnswerBeforeTheWrite(Inbox):
    """The answer leaves, and then it is written down."""

    async def receive(self, raw: str, sender: Any) -> str | None:
        message = wire.read_message(raw)

        def handle(tx: Connection) -> None:
            raise _RolledBack(self._handle(tx, message, raw))

        try:
            await self._database.run(handle)
        except _RolledBack as early:
            if early.answer is not None:
                asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(super_receive()))
                return early.answer

        async def super_receive() -> None:
            await Inbox.receive(self, raw, sender)

        return await Inbox.receive(self, raw, sender)


@mutant("inbox")
class RepetitionHandledTwice(Inbox):
    """A message that is known already is handled as if it were new."""

    def _handle(self, tx: Connection, message: wire.Message, raw: str) -> str | None:
        key = {"sender": message.sender, "message": str(message.message)}
        tx.execute(text("DELETE FROM negotiator_message WHERE sender = :sender AND message = :message"), key)
        return super()._handle(tx, message, raw)


@mutant("performer")
class ProbeSkipped(Performer):
    """Packets are said to have crossed."""

    async def _probe(self, n: Negotiation, within: float) -> Any:
        return ev.Probed(self._clock.now(), Verified.LINK)


# --- the configurator -------------------------------------------------------------------------------------------------


@mutant("configurator")
class TimerLostOnRestart(Configurator):
    """A configurator that was started again never rolls back."""

    def __init__(self, world: Any, member: Any, device: Any, *, probes: bool) -> None:
        for circuit, kept in device.kept.items():
            device.kept[circuit] = replace(kept, deadline=None)
        super().__init__(world, member, device, probes=probes)


@mutant("configurator")
class TimerIgnored(Configurator):
    """The confirm timer never fires."""

    def expired(self, kept: Kept) -> Kept:
        return kept


@mutant("configurator")
class NotFenced(Configurator):
    """An order is obeyed however old it is."""

    async def apply(self, intent: LinkIntent, confirm_seconds: float | None) -> tuple[str, ...]:
        self._device.seen.clear()
        return await super().apply(intent, confirm_seconds)


@mutant("configurator")
class TouchedBeforeWrittenDown(Configurator):
    """The device is changed first: who dies in between does not know what is on it."""

    _waiting: Kept | None = None

    def _keep(self, kept: Kept) -> None:
        self._waiting = kept

    def carry(self, circuit: str, intent: LinkIntent | None, *, gone: bool = False) -> None:
        super().carry(circuit, intent, gone=gone)
        self.crash_point("after the device was changed")
        if self._waiting is not None:
            super()._keep(self._waiting)


@mutant("configurator")
class RemovalForgotten(Configurator):
    """A removal is reported as done when it was ordered."""

    async def remove(self, circuit: str, agreement: UUID, generation: int) -> Any:
        self.spawn(super().remove(circuit, agreement, generation))
        return Removal()
