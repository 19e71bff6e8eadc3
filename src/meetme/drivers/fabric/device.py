"""The fabric driver: the six verbs of `drivers.base` over the kernel of the switch it runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from meetme.drivers.base import Change, Disturbance, RouterFacts, segment_only
from meetme.drivers.fabric import capabilities, observe
from meetme.drivers.fabric.config import Member, SegmentConfig, Tunnel, Vlan
from meetme.drivers.fabric.difference import Step, steps
from meetme.drivers.fabric.execute import Execution
from meetme.drivers.fabric.notes import Notes
from meetme.drivers.fabric.observe import SwitchFacts
from meetme.drivers.fabric.probing import Prober, State
from meetme.drivers.fabric.render import render
from meetme.drivers.fabric.watch import watch
from meetme.drivers.kernel.commands import check_circuit_id, on_device, set_all
from meetme.model.errors import DeviceFailed, Fault, MeetMeError, Problem
from meetme.model.intent import Capabilities, Intent, ProbeReport, ProbeRequest
from meetme.model.segment import AccessEnd, SegmentEnd, TunnelEnd, Uplink

RUN_DIRECTORY = Path("/run/meetme/fabric")


class FabricDriver:
    """The switch is the network namespace that the process runs in; a circuit is a bridge of its own in it."""

    name = "fabric"

    def __init__(self, run_directory: Path = RUN_DIRECTORY) -> None:
        self._notes = Notes(run_directory)
        self._shapes = True
        self._prober: Prober | None = None
        self._states: dict[str, State] = {}
        self._ends: dict[str, dict[str, SegmentEnd]] = {}
        """By circuit: its uplinks by interface."""
        self._tell: Callable[[str, tuple[Uplink, ...]], None] = lambda circuit, uplinks: None

    async def open(self) -> None:
        """Take up the protected circuits that an earlier process left."""
        self._shapes = await asyncio.to_thread(capabilities.shapes)
        loop = asyncio.get_running_loop()

        def heard(circuit: str, state: State) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._heard, circuit, state)

        self._prober = Prober(heard)
        for circuit in await self.circuits():
            found = await self.read(circuit)
            if found is not None:
                self._probe_uplinks(circuit, found)

    async def close(self) -> None:
        """Send no more probes. Frames stay where they are."""
        if self._prober is not None:
            prober, self._prober = self._prober, None
            await asyncio.to_thread(prober.close)

    async def capabilities(self) -> Capabilities:
        """Probed in a throw-away namespace."""
        found = await asyncio.to_thread(capabilities.capabilities)
        if (await self.facts()).apart or not capabilities.filtered():
            return found
        filtered = Problem(
            code="bridge_filtered",
            text="switch: bridged frames go through its packet filter, which may drop or change them",
            hint="sysctl -w net.bridge.bridge-nf-call-iptables=0 (ip6tables, arptables), if its other bridges allow it",
            fault=Fault.DEVICE,
        )
        return replace(found, missing=(*found.missing, filtered))

    async def facts(self) -> SwitchFacts:
        """As they are now. Raises DeviceFailed."""
        return await asyncio.to_thread(on_device(observe.facts), self._notes)

    def render(self, intent: Intent, facts: RouterFacts) -> SegmentConfig:
        """See `render`. Raises also Unsupported for a link."""
        apart = not isinstance(facts, SwitchFacts) or facts.apart
        return render(segment_only(intent, self.name), facts, apart=apart, shapes=self._shapes)

    async def read(self, circuit: str) -> SegmentConfig | None:
        """As it is now. Raises DeviceFailed."""
        return await asyncio.to_thread(on_device(self._read), circuit)

    def plan(self, circuit: str, have: SegmentConfig | None, want: SegmentConfig | None) -> Change[SegmentConfig]:
        """The difference, as commands that a person can type in the switch."""
        return Change(circuit, have, want, tuple(step.command for step in steps(circuit, have, want)))

    async def apply(self, change: Change[SegmentConfig]) -> None:
        """Do it, or put back what was there."""
        todo = steps(change.circuit, change.have, change.want)
        if not todo:
            return
        if change.want is None:
            self._stop_probing(change.circuit)
        else:
            check_circuit_id(change.circuit)
        await asyncio.to_thread(on_device(self._apply), change, todo)
        if change.want is not None:
            self._probe_uplinks(change.circuit, change.want)

    async def circuits(self) -> frozenset[str]:
        """By our notes and by the tags of our interfaces."""
        return await asyncio.to_thread(on_device(observe.circuits), self._notes)

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """A switch has no address in a circuit: nothing is sent, and nothing answers."""
        await asyncio.sleep(request.within)
        return ProbeReport(answered=(), lost=len(request.sizes), sent=len(request.sizes), rtt_ms=None)

    def watch(self) -> AsyncIterator[Disturbance]:
        """See `watch`."""
        return watch()

    def uplinks(self, circuit: str) -> tuple[Uplink, ...]:
        """As the last probes say. Without any yet, all are down and the preferred one carries."""
        ends, state = self._ends.get(circuit, {}), self._states.get(circuit)
        up = dict(state.up) if state is not None else {}
        carrying = state.carrying if state is not None else next(iter(ends), "")
        return tuple(Uplink(end, up.get(name, False), name == carrying) for name, end in ends.items())

    def follow_uplinks(self, tell: Callable[[str, tuple[Uplink, ...]], None]) -> None:
        """Call `tell` whenever an uplink goes up or down."""
        self._tell = tell

    def _heard(self, circuit: str, state: State) -> None:
        first = self._states.get(circuit) is None
        if circuit in self._ends:
            self._states[circuit] = state
            if not first or any(up for _, up in state.up):  # nobody can have answered the first probe yet
                self._tell(circuit, self.uplinks(circuit))

    def _probe_uplinks(self, circuit: str, config: SegmentConfig) -> None:
        ends = uplink_ends(config)
        if self._prober is None or len(ends) < 2:
            self._stop_probing(circuit)
            return
        if list(self._ends.get(circuit, {}).items()) != list(ends.items()):
            self._states.pop(circuit, None)
        self._ends[circuit] = ends
        self._prober.watch(circuit, tuple(ends))

    def _stop_probing(self, circuit: str) -> None:
        self._ends.pop(circuit, None)
        self._states.pop(circuit, None)
        if self._prober is not None:
            self._prober.forget(circuit)

    def _read(self, circuit: str) -> SegmentConfig | None:
        """Not while frames move to another uplink: that is no drift."""
        with self._prober.moving if self._prober is not None else nullcontext():
            return observe.read(circuit, self._notes)

    def _apply(self, change: Change[SegmentConfig], todo: tuple[Step, ...]) -> None:
        try:
            Execution(change.circuit, change.want, self._notes).run(todo)
        except (MeetMeError, OSError) as failure:
            self._roll_back(change, failure)
            raise
        if change.want is None:
            self._after_the_last()

    def _after_the_last(self) -> None:
        """The switch's own settings come back when no circuit needs them changed."""
        if not observe.circuits(self._notes):
            set_all(self._notes.take_settings().items())

    def _roll_back(self, change: Change[SegmentConfig], failure: Exception) -> None:
        """Back to what was there, as far as the device lets us; what it does not is said with the failure."""
        try:
            now = observe.read(change.circuit, self._notes)
            Execution(change.circuit, change.have, self._notes).run(steps(change.circuit, now, change.have))
            if change.have is None:
                self._after_the_last()
        except (MeetMeError, OSError) as second:
            raise DeviceFailed(
                "rollback_failed",
                f"device: {failure}; and putting back what was there failed too ({second})",
                hint="the configurator tries again by itself",
            ) from failure


def uplink_ends(config: SegmentConfig) -> dict[str, SegmentEnd]:
    """The uplinks of a protected side by interface, in order of preference."""
    made: dict[str, SegmentEnd] = {}
    for part in config.parts:
        if isinstance(part, Tunnel):
            made[part.name] = TunnelEnd(part.local, part.remote, part.vni)
        elif isinstance(part, Vlan):
            made[part.name] = AccessEnd(part.port, part.vlan)
    members = sorted((part.preference, part.name) for part in config.parts if isinstance(part, Member))
    return {name: made.get(name, AccessEnd(name)) for preference, name in members if preference}
