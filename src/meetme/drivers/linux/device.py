"""The Linux driver: the six verbs of `drivers.base` over the kernel of the router it runs on."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from meetme.drivers.actions import RouterActions
from meetme.drivers.base import Change, Disturbance, RouterFacts, link_only
from meetme.drivers.kernel import netns, tables
from meetme.drivers.kernel.commands import check_circuit_id, on_device
from meetme.drivers.linux import observe
from meetme.drivers.linux.actions import LinuxActions
from meetme.drivers.linux.capabilities import capabilities
from meetme.drivers.linux.config import CircuitConfig, port_device
from meetme.drivers.linux.difference import Step, steps
from meetme.drivers.linux.execute import Execution
from meetme.drivers.linux.names import names
from meetme.drivers.linux.observe import Places
from meetme.drivers.linux.probe import probe
from meetme.drivers.linux.render import render
from meetme.drivers.linux.watch import watch
from meetme.model.errors import Conflict, DeviceFailed, MeetMeError, Unsupported
from meetme.model.intent import Capabilities, Intent, ProbeReport, ProbeRequest
from meetme.runtime.shared_call import SharedCall

RUN_DIRECTORY = Path("/run/meetme")


class LinuxDriver:
    """The router is the network namespace that the process runs in; a circuit is a namespace of its own beside it."""

    name = "linux"

    def __init__(self, run_directory: Path = RUN_DIRECTORY) -> None:
        self.actions: RouterActions = LinuxActions()
        """The thesis's three actions, for who asks for no more."""
        self._places = Places(run_directory)
        self._facts = SharedCall(lambda: asyncio.to_thread(on_device(observe.facts), self._places))
        self._held: dict[str, int] = {}
        """Open descriptors of the namespaces, by circuit: while we run, no unmounting can end one."""
        self._ports: dict[str, str] = {}
        """The circuit that asked last for an interface: it alone is looked at when the interface comes or goes."""

    async def open(self) -> None:
        """Take up the circuits that an earlier process left."""
        for circuit in await self.circuits():
            self._hold(circuit)
        for note in await asyncio.to_thread(self._places.notes.all):
            self._ports[port_device(note.port, note.vlan)] = note.circuit

    async def close(self) -> None:
        """Let go of the namespaces; their names keep them."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    async def capabilities(self) -> Capabilities:
        """Probed in a throw-away namespace."""
        return await asyncio.to_thread(capabilities)

    async def facts(self) -> RouterFacts:
        """As they are now. Raises DeviceFailed."""
        return await self._facts()

    def render(self, intent: Intent, facts: RouterFacts) -> CircuitConfig:
        """See `render`. Raises also Unsupported for a segment."""
        return render(link_only(intent, self.name), facts)

    async def read(self, circuit: str) -> CircuitConfig | None:
        """As it is now. Raises DeviceFailed."""
        return await asyncio.to_thread(on_device(observe.read), circuit, self._places)

    def plan(self, circuit: str, have: CircuitConfig | None, want: CircuitConfig | None) -> Change[CircuitConfig]:
        """The difference, as commands that a person can type in the router."""
        return Change(circuit, have, want, tuple(step.command for step in steps(circuit, have, want)))

    async def apply(self, change: Change[CircuitConfig]) -> None:
        """Do it, or put back what was there."""
        todo = steps(change.circuit, change.have, change.want)
        if not todo:
            return
        await asyncio.to_thread(on_device(self._apply), change, todo)

    async def circuits(self) -> frozenset[str]:
        """By our notes and by the tags of our interfaces."""
        return await asyncio.to_thread(on_device(observe.circuits), self._places)

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """See `probe`."""
        return await probe(request, device=names(request.circuit).outer)

    def watch(self) -> AsyncIterator[Disturbance]:
        """See `watch`."""
        return watch(self._ports.get)

    def _apply(self, change: Change[CircuitConfig], todo: tuple[Step, ...]) -> None:
        if change.want is not None:
            check_circuit_id(change.circuit)
            _check_forwarding(change.want)
            self._check_same_router(change.circuit)
            self._ports[change.want.device] = change.circuit
        try:
            Execution(change.circuit, change.want, self._places).run(todo)
        except (MeetMeError, OSError) as failure:
            self._roll_back(change, failure)
            raise
        if change.want is None:
            self._release(change.circuit)
        else:
            self._hold(change.circuit)

    def _roll_back(self, change: Change[CircuitConfig], failure: Exception) -> None:
        """Back to what was there, as far as the device lets us; what it does not is said with the failure."""
        try:
            now = observe.read(change.circuit, self._places)
            back = steps(change.circuit, now, change.have)
            Execution(change.circuit, change.have, self._places).run(back)
        except (MeetMeError, OSError) as second:
            raise DeviceFailed(
                "rollback_failed",
                f"device: {failure}; and putting back what was there failed too ({second})",
                hint="the configurator tries again by itself",
            ) from failure

    def _check_same_router(self, circuit: str) -> None:
        note = self._places.notes.read(names(circuit).namespace)
        here = netns.identity()
        if note is not None and note.router != here and self._places.namespace(names(circuit)) is not None:
            raise Conflict(
                "circuit_elsewhere",
                f'circuit: another router on this host holds "{circuit}"',
                field="circuit",
                hint="two routers on one host need a /run each: unshare -m, then mount -t tmpfs tmpfs /run",
            )

    def _hold(self, circuit: str) -> None:
        path = self._places.namespace(names(circuit))
        self._release(circuit)
        if path is not None:
            with contextlib.suppress(OSError):
                self._held[circuit] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _release(self, circuit: str) -> None:
        descriptor = self._held.pop(circuit, None)
        if descriptor is not None:
            os.close(descriptor)


def _check_forwarding(want: CircuitConfig) -> None:
    versions = {prefix.version for prefix in want.tracked}
    for version, key in ((4, "net/ipv4/ip_forward"), (6, "net/ipv6/conf/all/forwarding")):
        if version in versions and tables.setting(key) != "1":
            raise Unsupported(
                "forwarding_off",
                f"router: does not forward IPv{version}",
                hint=f"sysctl -w {key.replace('/', '.')}=1",
            )
