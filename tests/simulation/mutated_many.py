"""What may be wrong about many partners, replicas, clocks and the watch of routers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from meetme.model.agreement import Agreement, MemberId
from meetme.model.intent import LinkIntent, LinkState
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator import store, wire
from meetme.negotiator.events import Event
from meetme.negotiator.inbox import Inbox
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.roll import RollAnswer
from meetme.negotiator.roll_call import RollCall
from meetme.negotiator.strays import Strays
from meetme.negotiator.watching import Watcher
from meetme.runtime.ledger import Ledger, Step
from tests.simulation.device import Configurator
from tests.simulation.member import FastSide
from tests.simulation.mutants import mutant
from tests.simulation.siblings import Siblings

# --- who may do what --------------------------------------------------------------------------------------------------


@mutant("machine", "hub")
class PolicyOfOffersNotAsked(NegotiationMachine):
    """A peer may offer whatever it likes."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if isinstance(event, ev.ProposeReceived):
            event = replace(event, policy=MemberPolicy())
        return super().step(state, event)


@mutant("machine", "hub")
class PolicyOfAnswersNotAsked(NegotiationMachine):
    """A peer may answer with whatever it likes."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if isinstance(event, ev.HoldReceived):
            event = replace(event, policy=MemberPolicy())
        return super().step(state, event)


@mutant("machine", "hub")
class AgreementsNotCounted(NegotiationMachine):
    """A peer may have as many as it likes."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if isinstance(event, ev.ProposeReceived):
            event = replace(event, agreements=0)
        return super().step(state, event)


@mutant("inbox", "crook")
class EverybodyIsAParty(Inbox):
    """Whoever knows the id of a negotiation may speak in it."""

    def _check_party(self, n: Negotiation, message: wire.Message) -> None:
        return


@mutant("side", "crook")
class SignaturesNotVerified(FastSide):
    """Whatever is shown as an agreement is one."""

    def verify(self, document: str, agreement: Agreement, signers: frozenset[str]) -> None:
        return


@mutant("inbox", "crook")
class SomebodyElsesCircuit(Inbox):
    """A circuit that leads to one peer may be named by another."""

    def _land(self, tx: Connection, message: wire.Message) -> Any:
        registered = store.attachment(tx, message.circuit)
        if registered is None:
            return super()._land(tx, message)
        return replace(registered, peer=None)


# --- what belongs to whom ---------------------------------------------------------------------------------------------


@mutant("side", "hub")
class OthersNotLookedAt(FastSide):
    """What was given to one partner is offered to the next."""

    def facts(self, tx: Connection, *arguments: Any, **more: Any) -> Any:
        own = super().facts(tx, *arguments, **more)
        claimed = set(store.claimed_prefixes(tx, None))
        held = tuple(prefix for prefix in own.usage.held if prefix not in claimed)
        return replace(own, usage=replace(own.usage, held=held))


@mutant("configurator", "hub")
class TheWholeRouterIsCleared(Configurator):
    """The end of one link takes all the others along."""

    async def remove(self, circuit: str, agreement: UUID, generation: int) -> Any:
        for other in [name for name in self._device.carried if name != circuit]:
            self.carry(other, None, gone=True)
        return await super().remove(circuit, agreement, generation)


@mutant("machine", "hub")
class TheWholePeerIsEnded(NegotiationMachine):
    """Who ends one agreement ends whatever else there is with that peer."""

    def save(self, tx: Connection, before: Negotiation | None, after: Negotiation, event: Event, now: float) -> None:
        super().save(tx, before, after, event, now)
        if isinstance(event, ev.TerminateAsked | ev.TerminateReceived):
            for n in store.negotiations(tx):
                if n.id != after.id and n.peer == after.peer and n.state.value == "active":
                    Ledger().deliver(tx, self, str(n.id), ev.TerminateAsked(now), now)


@mutant("strays", "lost_database")
class StraysUnseen(Strays):
    """What the store has lost is given out again, though the router still has it."""

    async def found(self, router: Any, links: Any) -> bool:
        return False


# --- replicas ---------------------------------------------------------------------------------------------------------


@mutant("siblings", "replicas")
class EachGoesByItsOwnClock(Siblings):
    """What is due at one replica is not at the next."""

    def keep_time(self) -> None:
        return


@mutant("inbox", "replicas")
class AnswersKeptInMemory(Inbox):
    """A replica knows only what it has answered itself."""

    def _handle(self, tx: Connection, message: wire.Message, raw: str) -> str | None:
        mine: set[UUID] = self.__dict__.setdefault("mine", set())
        if message.message not in mine:
            key = {"sender": message.sender, "message": str(message.message)}
            tx.execute(text("DELETE FROM negotiator_message WHERE sender = :sender AND message = :message"), key)
        mine.add(message.message)
        return super()._handle(tx, message, raw)


# --- clocks -----------------------------------------------------------------------------------------------------------


@mutant("inbox", "clocks")
class ExpiredAccepted(Inbox):
    """A message is good for ever."""

    def _check(self, message: wire.Message, sender: MemberId) -> None:
        super()._check(replace(message, expires=self._clock.now()), sender)


@mutant("configurator", "clocks")
class DatesInsteadOfDurations(Configurator):
    """The router takes the end of the confirm timer for a moment of the negotiator's clock."""

    async def apply(self, intent: LinkIntent, confirm_seconds: float | None) -> tuple[str, ...]:
        if confirm_seconds is not None:
            theirs = self.world.clock(f"{self._member}/0").now()
            confirm_seconds = max(0.001, theirs + confirm_seconds - self.clock.now())
        return await super().apply(intent, confirm_seconds)


# --- the watch of routers ---------------------------------------------------------------------------------------------


@mutant("watcher", "routers")
class NobodyWatches(Watcher):
    """Nobody looks at what the routers have."""

    async def follow(self, router: Any) -> None:
        return


@mutant("watcher", "change", seed=647)
class NewerIsLeft(Watcher):
    """A router that is ahead of a restored store stays so, whatever the peer says."""

    async def _settle_newer(self, router: Any, id: Any) -> None:
        return


@mutant("configurator", "routers")
class RebootNotHealed(Configurator):
    """What was confirmed is not put back by the configurator when it starts."""

    async def _tend_to(self, circuit: str) -> None:
        kept = self._device.kept.get(circuit)
        if kept is not None and kept.state is LinkState.CONFIRMED:
            return
        await super()._tend_to(circuit)


# --- the roll ---------------------------------------------------------------------------------------------------------


@mutant("roll_call", "backups", seed=197)
class RollThatAgrees(RollCall):
    """Whatever a peer lists is said to be so here too."""

    async def answer(self, raw: str, sender: MemberId) -> str:
        return wire.write_roll_answer(RollAnswer(wire.read_roll(raw).to, sender, ()))
