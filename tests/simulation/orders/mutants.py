"""Faults seeded into the catalogue: the run has to find each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from meetme.catalog import events as ev
from meetme.catalog.effects import Cancel, Effect, Send, TakeBack, Wake, Watch
from meetme.catalog.events import Event
from meetme.catalog.inbox import Inbox
from meetme.catalog.lifecycle import step
from meetme.catalog.machine import OrderMachine, write_effect
from meetme.catalog.messages import MessageType, TerminatedBody
from meetme.catalog.order import Answer, Order, Thing
from meetme.catalog.performer import Performer
from meetme.catalog.undoing import put
from meetme.catalog.words import ENDED, Party, Presence, State, What
from meetme.model.errors import MeetMeError, Unreachable
from meetme.runtime.ledger import Step
from tests.simulation.orders.member import Parts

Move = tuple[Order, list[Effect]]


@dataclass(frozen=True)
class Mutant:
    """A fault, and a seed that shows it."""

    parts: Parts
    seed: int


MUTANTS: dict[str, Mutant] = {}


class Mutated(OrderMachine):
    """The rules, but for what `wrong` makes of each of their steps."""

    def step(self, state: Order | None, event: Event) -> Step[Order]:
        outcome = step(state, event)
        after, effects = self.wrong(state, event, outcome.order, list(outcome.effects))
        return Step(after, tuple(write_effect(effect) for effect in effects))

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        """What is done instead."""
        raise NotImplementedError


def rule(seed: int) -> Callable[[type[Mutated]], type[Mutated]]:
    """Register a fault of the rules under its name."""

    def register(cls: type[Mutated]) -> type[Mutated]:
        MUTANTS[cls.__name__] = Mutant(Parts(machine=cls), seed)
        return cls

    return register


def shell(part: str, seed: int) -> Callable[[type[Any]], type[Any]]:
    """Register a fault of a shell under its name."""

    def register(cls: type[Any]) -> type[Any]:
        MUTANTS[cls.__name__] = Mutant(Parts(**{part: cls}), seed)
        return cls

    return register


def _but(effects: list[Effect], forgotten: Callable[[Effect], bool]) -> list[Effect]:
    return [effect for effect in effects if not forgotten(effect)]


# --- taking back ------------------------------------------------------------------------------------------------------


@rule(7)
class LooksOnceOnly(Mutated):
    """What may still be on its way is not waited for."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        return after, [replace(e, after=0.0) if isinstance(e, TakeBack) else e for e in effects]


@rule(0)
class AllAtOnce(Mutated):
    """Everything is taken back at once, in no order."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        if after.state is State.TERMINATING:
            for what in What:
                if after.thing(what).presence in (Presence.MAKING, Presence.THERE):
                    after = put(after, what, replace(after.thing(what), presence=Presence.LEAVING))
                    effects.append(TakeBack(what))
        return after, effects


class _Forgets(Mutated):
    what: What

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        begins = before is not None and before.state is not State.TERMINATING and after.state is State.TERMINATING
        if not begins or before is None:
            return after, effects
        forgetful = step(put(before, self.what, Thing()), event)
        return forgetful.order, list(forgetful.effects)


@rule(0)
class CircuitIsLeft(_Forgets):
    """Nobody gives the circuit back."""

    what = What.CIRCUIT


@rule(0)
class AttachmentIsLeft(_Forgets):
    """The negotiator is not told that the circuit is gone."""

    what = What.ATTACHMENT


@rule(2)
class NegotiationIsLeft(_Forgets):
    """The negotiation goes on."""

    what = What.NEGOTIATION


@rule(5)
class NeverPatient(Mutated):
    """What has to go first is not waited for."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        return after, [
            replace(e, after=1.0) if isinstance(e, Wake) and e.event is ev.PatienceOver else e for e in effects
        ]


@rule(0)
class SaysTerminatedAtOnce(Mutated):
    """The other side is told that nothing is left before that is so."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        if isinstance(event, ev.TerminateReceived) and not after.answers:
            after = replace(after, answers=(Answer(event.message, TerminatedBody()),))
        return after, effects


@rule(213)
class EarlierAttemptsAreForgotten(Mutated):
    """Only the last attempt is thought of: one whose answer did not come may still arrive."""

    def step(self, state: Order | None, event: Event) -> Step[Order]:
        sure = isinstance(event, ev.Attached | ev.MakingFailed)
        return OrderMachine.step(self, state, replace(event, sure=True) if sure else event)


@rule(0)
class EndsUnheard(Mutated):
    """The end is not waited for: neither what is left nor the other side."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        if after.state is State.TERMINATING and isinstance(event, ev.TerminatedReceived) and after.outcome:
            after = replace(after, state=after.outcome)
        return after, effects


# --- going forward ----------------------------------------------------------------------------------------------------


@rule(416)
class BelievesTheBuyer(Mutated):
    """The seller is active because the buyer says that it is."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        under_way = after.state in (State.COMPOSING, State.LINKING, State.NEGOTIATING)
        if isinstance(event, ev.QueryReceived) and event.state is State.ACTIVE and under_way:
            after = replace(after, state=State.ACTIVE)
        return after, effects


@rule(0)
class DoesNotVerify(Mutated):
    """An agreement is enough: the service itself is not looked at."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        if after.state is State.VERIFYING and before is not None and before.state is State.NEGOTIATING:
            verified = step(after, ev.Verified(event.at))
            return verified.order, [*effects, *verified.effects]
        return after, effects


@rule(0)
class DoesNotWaitForTheSeller(Mutated):
    """The negotiation begins before the seller's end is ready."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        if isinstance(event, ev.Attached) and after.party is Party.BUYER and not after.partner_ready:
            ready = step(after, ev.AttachedReceived(event.at))
            return ready.order, [*effects, *ready.effects]
        return after, effects


@rule(20)
class LooksAwayOnceActive(Mutated):
    """What is active is not looked after."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        if after.state is State.ACTIVE:
            effects = [Cancel(e.what) if isinstance(e, Watch) else e for e in effects]
            if before is not None and before.state is not State.ACTIVE:
                effects += [Cancel(What.CIRCUIT), Cancel(What.NEGOTIATION)]
        return after, effects


@rule(25)
class NeverCompares(Mutated):
    """Nobody asks where the other side stands."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        return after, _but(effects, lambda e: isinstance(e, Wake) and e.event is ev.CompareDue)


@rule(1)
class WaitsForEver(Mutated):
    """No state has a deadline."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        return after, _but(effects, lambda e: isinstance(e, Wake) and e.event is ev.Deadline)


@rule(3)
class NobodyIsTold(Mutated):
    """The other side is not told that it is over, and is taken to know."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        if before is not None and before.state is State.ACTIVE and after.state is State.TERMINATING:
            quiet = step(replace(before, partner_knows=True), event)
            return quiet.order, list(quiet.effects)
        return after, _but(effects, lambda e: isinstance(e, Send) and e.type is MessageType.QUERY)


@rule(183)
class RisesAgain(Mutated):
    """A message that comes too late brings back what has ended."""

    def wrong(self, before: Order | None, event: Event, after: Order, effects: list[Effect]) -> Move:
        if before is not None and before.state in ENDED and isinstance(event, ev.AttachReceived):
            again = step(replace(before, state=State.COMPOSING), event)
            return again.order, list(again.effects)
        return after, effects


# --- the shells -------------------------------------------------------------------------------------------------------


@shell("inbox", 290)
class TakesTheBuyersWord(Inbox):
    """What the buyer says of an offer counts, not the offer."""

    def _event(self, tx: Any, message: Any, order: Any) -> Any:
        event = super()._event(tx, message, order)
        return replace(event, wanted=message.body.wanted) if isinstance(event, ev.RequestReceived) else event


@shell("inbox", 0)
class TakesAnybodysWord(Inbox):
    """Whoever names an order may speak about it, and the message is taken whenever it comes."""

    def _handle(self, tx: Any, message: Any, raw: str) -> str | None:
        from meetme.catalog import store

        order = store.load(tx, message.order)
        if order is not None and order.state is State.APPROVING and order.party is Party.SELLER:
            self._ledger.deliver(tx, self._machine, str(order.id), ev.Decided(self._clock.now(), "x"), 0.0)
        return super()._handle(tx, message, raw)


@shell("performer", 45)
class UnknownIsRefused(Performer):
    """Who gives no answer is taken to have refused."""

    async def _make(self, n: Order, what: What, attempts: int) -> Any:
        try:
            return await super()._make(n, what, attempts)
        except Unreachable as error:
            return ev.MakingFailed(self._clock.now(), what, error.problem)


@shell("performer", 188)
class MakesWhatIsTakenBack(Performer):
    """What was to be made when this was owed is made, although it is being taken back by now."""

    async def _make(self, n: Order, what: What, attempts: int) -> Any:
        if n.thing(what).presence is not Presence.MAKING and what is What.ATTACHMENT:
            return ev.Attached(self._clock.now(), await self._underlay.attach(n))
        return await super()._make(n, what, attempts)


@shell("performer", 0)
class AskedIsGone(Performer):
    """What was told to go is taken to be gone."""

    async def _take_back(self, n: Order, what: What, attempts: int) -> Any:
        if what is What.CIRCUIT:
            await self._underlay.remove_circuit(n)
            return ev.Gone(self._clock.now(), what)
        return await super()._take_back(n, what, attempts)


@shell("performer", 3)
class RefusedIsGone(Performer):
    """What refuses to go is taken to be gone."""

    async def _take_back(self, n: Order, what: What, attempts: int) -> Any:
        try:
            return await super()._take_back(n, what, attempts)
        except MeetMeError:
            return ev.Gone(self._clock.now(), what)


@shell("performer", 19)
class VerifiesByHope(Performer):
    """A service that does not answer is taken to do so soon."""

    async def _verify(self, n: Order) -> Any:
        event = await super()._verify(n)
        return ev.Verified(self._clock.now()) if isinstance(event, ev.VerifyFailed) else event
