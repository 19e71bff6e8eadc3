"""What may be wrong around the rules: loop, ledger, inbox, performer, configurator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from meetme.configurator.plan import Kept
from meetme.model.intent import LinkIntent, Removal
from meetme.negotiator import events as ev
from meetme.negotiator import wire
from meetme.negotiator.events import Event
from meetme.negotiator.inbox import Inbox
from meetme.negotiator.messages import Verified
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.performer import Performer
from meetme.runtime.ledger import Lease, Ledger, Owed
from meetme.runtime.loop import Loop
from tests.simulation.device import Configurator
from tests.simulation.mutants import mutant

# --- the loop ---------------------------------------------------------------------------------------------------------


@mutant("loop", "crashes")
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


@mutant("configurator", "nobody_home")
class TimerLostOnRestart(Configurator):
    """A configurator that was started again never rolls back."""

    def __init__(self, world: Any, member: Any, device: Any) -> None:
        for circuit, kept in device.kept.items():
            device.kept[circuit] = replace(kept, deadline=None)
        super().__init__(world, member, device)


@mutant("configurator", "nobody_home")
class TimerIgnored(Configurator):
    """The confirm timer never fires."""

    def expired(self, kept: Kept) -> Kept:
        return kept


@mutant("configurator", "regret")
class NotFenced(Configurator):
    """An order is obeyed however old it is."""

    async def apply(self, intent: LinkIntent, confirm_seconds: float | None) -> tuple[str, ...]:
        self._device.seen.clear()
        return await super().apply(intent, confirm_seconds)


@mutant("configurator", "lost_database")
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
