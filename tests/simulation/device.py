"""A border router and its configurator: the real orders (`configurator.plan`) around a device that fails.

What is ordered is written down before the device is touched, survives the configurator, and is finished by the next
one. The confirm timer is a deadline in what is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from meetme.configurator import checks, plan
from meetme.configurator.plan import Kept
from meetme.configurator.watchers import Watchers
from meetme.model.agreement import MemberId
from meetme.model.errors import DeviceFailed, Fault, MeetMeError, Unreachable
from meetme.model.intent import (
    AppliedLink,
    Capabilities,
    LinkEvent,
    LinkEventKind,
    LinkIntent,
    LinkState,
    Observation,
    Port,
    ProbeReport,
    ProbeRequest,
    Removal,
)
from tests.simulation.layout import PORTS, Home
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")


@dataclass
class Device:
    """What survives: what the configurator has written down, and what the router carries (half of an intent: None)."""

    router: str = "r"
    kept: dict[str, Kept] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    carried: dict[str, LinkIntent | None] = field(default_factory=dict)

    def reboot(self) -> None:
        """The router forgets what it carries; its configurator does not."""
        self.carried.clear()

    def replace(self) -> None:
        """Another router in its place, with a configurator that knows of nothing."""
        self.carried.clear()
        self.kept.clear()
        self.seen.clear()


class Configurator(Process):
    """One life of the configurator process, from a start to a crash."""

    trouble = "crash at an order"

    def __init__(self, world: World, member: MemberId, device: Device) -> None:
        super().__init__(world, f"{member}'s configurator {device.router}".removesuffix(" r"))
        self.clock = world.clock(f"{member}/{device.router}")
        self._member = member
        self._device = device
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._wake = asyncio.Event()
        self._watchers = Watchers()
        self.spawn(self._tend())

    @property
    def _home(self) -> Home:
        return self.world.layout.by_id[self._member]

    # --- orders -------------------------------------------------------------------------------------------------------

    def _remember(self, circuit: str, generation: int) -> None:
        """Later orders than this one, if the store it comes from was restored from a backup."""
        if self.world.strikes("older backup", f"{self.name} {circuit}"):
            self._device.seen[circuit] = max(generation + 1000, self._device.seen.get(circuit, 0))

    async def apply(self, intent: LinkIntent, confirm_seconds: float | None) -> tuple[str, ...]:
        """As `configurator.keeper.Keeper.apply`."""
        self.world.ordered(self._member, self._device, intent)
        async with self._locks[intent.circuit]:
            circuit, device = intent.circuit, self._device
            self._remember(circuit, intent.generation)
            self.crash_point("before an order is written down")
            before = device.kept.get(circuit)
            deadline = self.clock.now() + confirm_seconds if confirm_seconds else None
            others = [kept for other, kept in device.kept.items() if other != circuit]
            checks.check(intent)
            kept = plan.admit(intent, before, others, seen=device.seen.get(circuit, 0), deadline=deadline)
            self._keep(kept)
            try:
                await self._bring(kept)
            except DeviceFailed:
                back = plan.undo(kept, before)
                self._keep(back)
                with contextlib.suppress(DeviceFailed):  # it stays owed, here
                    await self._bring(back)
                raise
            finally:
                self._wake.set()
            self.crash_point("after an order was carried out, before its answer left")
            return (f"carry {circuit}",)

    async def confirm(self, circuit: str, agreement: UUID, generation: int) -> None:
        """As `configurator.keeper.Keeper.confirm`."""
        async with self._locks[circuit]:
            self._remember(circuit, generation)
            self.crash_point("before an order is written down")
            device = self._device
            kept = plan.confirm(
                device.kept.get(circuit),
                circuit=circuit,
                agreement=agreement,
                generation=generation,
                seen=device.seen.get(circuit, 0),
                now=self.clock.now(),
            )
            self._keep(kept)
            self.crash_point("after an order was carried out, before its answer left")

    async def remove(self, circuit: str, agreement: UUID, generation: int) -> Removal:
        """As `configurator.keeper.Keeper.remove`."""
        async with self._locks[circuit]:
            self._remember(circuit, generation)
            self.crash_point("before an order is written down")
            device = self._device
            kept = device.kept.get(circuit)
            target = plan.remove(kept, agreement=agreement, generation=generation, seen=device.seen.get(circuit, 0))
            if target is not None:
                self._keep(target)
                await self._bring(target)
            elif kept is None:
                device.seen[circuit] = max(generation, device.seen.get(circuit, 0))
            self.crash_point("after an order was carried out, before its answer left")
            return Removal()

    def _keep(self, kept: Kept) -> None:
        circuit = kept.intent.circuit
        self._device.kept[circuit] = kept
        self._device.seen[circuit] = max(kept.generation, self._device.seen.get(circuit, 0))
        self.world.trace(f"{self.name} keeps {circuit} {kept.state} {kept.generation}")
        self.world.device_changed(self._member)

    async def _bring(self, kept: Kept) -> None:
        """Make the device carry what is wanted. Raises DeviceFailed, and then it carries what it did before."""
        circuit, carried = kept.intent.circuit, self._device.carried
        await self._pause(circuit)
        if carried.get(circuit) != kept.wanted or circuit in carried:
            self.crash_point("after an order was written down, before the device was touched")
            final = kept.state is LinkState.CONFIRMED
            fails = final and self.world.strikes("device fails to restore", f"{self.name} {circuit}")
            if fails or self.world.strikes("device fails", f"{self.name} {circuit}"):
                raise DeviceFailed("device_failed", "the device refused")
            if self.would_crash("half-way through a change of the device"):
                if not (kept.wanted and carried.get(circuit) and kept.wanted.agreement == carried[circuit].agreement):  # type: ignore[union-attr]
                    self.carry(circuit, None)  # a change is all or nothing
                self.crash("half-way through a change of the device")
            self.carry(circuit, kept.wanted, gone=kept.wanted is None)
            self.crash_point("after the device was changed")
        if kept.state is LinkState.REMOVING:
            self._device.kept.pop(circuit, None)
            self.world.device_changed(self._member)
            self._tell(LinkEventKind.REMOVED, circuit, kept.intent.agreement)

    def carry(self, circuit: str, intent: LinkIntent | None, *, gone: bool = False) -> None:
        """Change the device itself."""
        self.world.changes(self._member, self._device, circuit, intent)
        if gone:
            self._device.carried.pop(circuit, None)
        else:
            self._device.carried[circuit] = intent
        what = f"{intent.agreement} {intent.generation}" if intent else "nothing" if gone else "a half"
        self.world.trace(f"{self._member}'s router {self._device.router} carries {what} on {circuit}")
        self.world.device_changed(self._member)

    async def _pause(self, circuit: str) -> None:
        where = f"{self.name} {circuit}"
        slow = self.world.strikes("slow device", where)
        await asyncio.sleep(self.world.chance.amount(where, 1.0, 14.0) if slow else 0.01)

    # --- what it does by itself ---------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        while True:
            self._wake.clear()
            for circuit in list(self._device.kept):
                async with self._locks[circuit]:
                    await self._tend_to(circuit)
            now = self.clock.now()
            due = [k.deadline for k in self._device.kept.values() if k.deadline is not None]
            owed = any(self._device.carried.get(c) != k.wanted for c, k in self._device.kept.items())
            waits = [at - now for at in due] + ([1.0] if owed else [])
            try:
                async with asyncio.timeout(max(0.001, min(waits)) if waits else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _tend_to(self, circuit: str) -> None:
        kept = self._device.kept.get(circuit)
        if kept is None:
            return
        fresh = self.expired(kept)
        if fresh != kept:
            self._keep(fresh)
        if self._device.carried.get(circuit) != fresh.wanted or fresh.wanted is None:
            try:
                await self._bring(fresh)
            except DeviceFailed:
                return
        if fresh != kept:
            self._tell(LinkEventKind.ROLLED_BACK, circuit, kept.intent.agreement)

    def expired(self, kept: Kept) -> Kept:
        """What to keep once the confirm timer has run out."""
        return plan.expire(kept, self.clock.now())

    def _tell(self, kind: LinkEventKind, circuit: str, agreement: UUID) -> None:
        self._watchers.tell(LinkEvent(circuit, agreement, kind, "", in_sync=True))

    async def watch(self) -> AsyncIterator[LinkEvent]:
        """How every link stands, then what becomes of each, until the process dies."""

        def present() -> Iterator[LinkEvent]:
            for circuit, kept in self._device.kept.items():
                yield LinkEvent(circuit, kept.intent.agreement, LinkEventKind.STATE, "", in_sync=True)

        async for event in self._watchers.watch(present):
            yield event
        raise _gone()

    def kill(self) -> None:
        super().kill()
        self._watchers.close()

    # --- looking ------------------------------------------------------------------------------------------------------

    def observe(self) -> Observation:
        """Ports, and what is kept."""
        ports = [Port(name, up=True, mtu=1500, mac=None) for name in PORTS]
        networks = self._home.settings.local_subnet
        addresses = tuple(ip_interface((network.network_address + 1, network.prefixlen)) for network in networks)
        lan = Port("lan", up=True, mtu=1500, mac=None, addresses=addresses)
        links = (AppliedLink(k.intent, k.state, in_sync=True) for k in self._device.kept.values())
        return Observation((*ports, lan), (), tuple(links))

    def capabilities(self) -> Capabilities:
        """What every border router of these runs can do."""
        return Capabilities(
            driver="model",
            unnumbered=self._home.unnumbered,
            translate=True,
            translate_identical_only=False,
            ipv6=True,
            vlan=False,
            confirm_timer=True,
            probe=self._home.probes,
            removes=True,
        )

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """Echo requests: answered as soon as both routers carry intents that fit."""
        self.crash_point("before a probe")
        world = self.world
        try:
            async with asyncio.timeout(request.within):
                while not world.crosses(request.circuit):
                    await world.anything_changed()
        except TimeoutError:
            return ProbeReport((), lost=3, sent=3, rtt_ms=None)
        await asyncio.sleep(0.001)
        if not world.crosses(request.circuit):
            return ProbeReport((), lost=3, sent=3, rtt_ms=None)
        world.packets_crossed(request.circuit, self._device)
        return ProbeReport(request.sizes, lost=0, sent=len(request.sizes), rtt_ms=1.0)


class ConfiguratorLine:
    """The way of one negotiator process to a configurator (`configurator.client.RouterControl`)."""

    def __init__(self, world: World, member: MemberId, router: str) -> None:
        self._world = world
        self._member = member
        self._router = router

    async def _call(self, what: str, order: Callable[[Configurator], Coroutine[Any, Any, T]]) -> T:
        world, where = self._world, f"{self._member} orders {what}"
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        verb = what.split()[0]
        lost = world.strikes("lose order", where) or f"order to {verb}" in world.muted
        delay = world.chance.amount(where, 0.001, 0.005)
        if world.strikes("delay order", where) or world.strikes(f"delay order to {verb}", where):
            delay += world.chance.amount(f"late {where}", 0.5, 20.0)
        if not lost:
            world.later(delay, lambda: self._arrive(where, order, reply))
        return await reply

    def _arrive(
        self, where: str, order: Callable[[Configurator], Coroutine[Any, Any, T]], reply: asyncio.Future[T]
    ) -> None:
        configurator = self._world.members[self._member].configurators[self._router]
        if configurator is None:
            if not reply.done():
                reply.set_exception(_gone())
            return
        configurator.spawn(self._carried_out(configurator, where, order, reply))

    async def _carried_out(
        self,
        configurator: Configurator,
        where: str,
        order: Callable[[Configurator], Awaitable[T]],
        reply: asyncio.Future[T],
    ) -> None:
        error: MeetMeError | None = None
        try:
            result = await order(configurator)
        except MeetMeError as failure:
            error = failure
        except asyncio.CancelledError:
            error = _gone()
        if self._world.strikes("lose order's answer", where) or reply.done():
            return
        if error is not None:
            reply.set_exception(error)
        else:
            reply.set_result(result)

    async def apply(
        self, intent: LinkIntent, *, confirm_seconds: float | None = None, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Order an intent."""
        assert not dry_run
        return await self._call(f"apply {intent.circuit}", lambda c: c.apply(intent, confirm_seconds))

    async def confirm(self, circuit: str, agreement: UUID, generation: int) -> None:
        """Order the end of the confirm timer."""
        await self._call(f"confirm {circuit}", lambda c: c.confirm(circuit, agreement, generation))

    async def remove(
        self, circuit: str, agreement: UUID, generation: int, *, intent: LinkIntent | None = None
    ) -> Removal:
        """Order a removal."""
        return await self._call(f"remove {circuit}", lambda c: c.remove(circuit, agreement, generation))

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """Ask for a probe."""
        return await self._call(f"probe {request.circuit}", lambda c: c.probe(request))

    async def observe(self) -> Observation:
        """A look, which never fails: what it is for is tested elsewhere."""
        return self._here().observe()

    async def capabilities(self) -> Capabilities:
        """A look, which never fails."""
        return self._here().capabilities()

    def _here(self) -> Configurator:
        configurator = self._world.members[self._member].configurators[self._router]
        if configurator is None:
            raise _gone()
        return configurator

    async def watch(self) -> AsyncIterator[LinkEvent]:
        """What the configurator tells, a little later; ends with an error when it dies."""
        await asyncio.sleep(0.002)
        async for event in self._here().watch():
            await asyncio.sleep(0.002)
            yield event

    async def close(self) -> None:
        """There is no connection."""


def _gone() -> Unreachable:
    return Unreachable("configurator_unreachable", "configurator: no answer", fault=Fault.DEVICE)
