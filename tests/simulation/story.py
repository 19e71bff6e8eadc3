"""The course of a run: the actions of its schedule, then calm, then the end, then a new beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING
from uuid import UUID

from meetme.model.errors import MeetMeError
from meetme.negotiator import store
from meetme.negotiator.negotiation import Wish
from meetme.negotiator.states import ENDED, State
from meetme.negotiator.views import StartRequest
from tests.simulation import invariants
from tests.simulation.member import Member
from tests.simulation.schedule import Action

if TYPE_CHECKING:
    from tests.simulation.world import World

CALM_SECONDS = 130.0
"""Everything heals within this: leases and back-offs of 30 s, a comparison every 30 s, a farewell of 60 s."""
LATEST_SECONDS = 30.0
"""By then every message that was delayed has arrived."""
FRESH_SECONDS = 5.0
"""In a calm world, from `start_negotiation` to active at both sides."""


class Story:
    """Trouble for a while, then everything heals, both sides have to agree and to end, and nothing may be left."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._patience = CALM_SECONDS

    async def tell(self) -> None:
        """From the first action to the end, when nothing is left."""
        for member in self._world.members.values():
            self._world.start_processes(member)
        self._world.tick()
        for action in self._world.schedule.actions:
            self._world.at(max(0.0, action.at), lambda action=action: self._act(action))  # type: ignore[misc]
        await asyncio.sleep(self._world.schedule.seconds)
        self._heal()
        await self._settle("both sides agree", lambda: invariants.both_say_the_same(self._world))
        for member in self._world.honest:
            self._world.check(invariants.what_was_acknowledged_is_there(self._world, member))
        await self._end_everything()
        await asyncio.sleep(LATEST_SECONDS)
        await self._end_everything()
        await self._start_afresh()

    def _heal(self) -> None:
        self._world.trace("everything heals")
        self._world.chance.calm = True
        self._world.cut = False
        self._world.dark.clear()
        self._world.muted.clear()
        self._world.change()
        # What a clock that was ahead has put off is due that much later once the clock is right.
        self._patience = CALM_SECONDS + max((skew.seconds for skew in self._world.schedule.skews.values()), default=0.0)
        for member in self._world.members.values():
            self._world.clock(f"{member.id}/0").mend()
        for member in self._world.members.values():
            member.slow_disk = False
            self._world.start_processes(member)

    async def _settle(self, what: str, wrong: Callable[[], Iterable[str]]) -> None:
        """Wait until nothing is wrong. In a calm world that takes a bounded time."""
        until = self._world.now + self._patience
        while left := list(wrong()):
            if self._world.now > until:
                self._world.fail(f"{what}: {left[0]}")
                return
            await asyncio.sleep(1.0)

    def _left(self) -> Iterator[str]:
        for member in self._world.honest:
            yield from invariants.nothing_is_left(self._world, member)

    async def _end_everything(self) -> None:
        def left() -> Iterator[str]:
            for member in self._world.members.values():
                for id, n in list(member.known.items()):
                    if n.state is State.ACTIVE:
                        self._person(member, "terminate", id)
            yield from self._left()

        await self._settle("nothing is left", left)

    async def _start_afresh(self) -> None:
        """Who leaves nothing behind can begin again: every circuit has to come up at once."""
        layout = self._world.layout
        for name in sorted({action.circuit for action in self._world.schedule.actions}):
            members = [self._world.members[end.member] for end in layout.by_name[name].ends]
            if layout.permitted(name) and any(member.home.probes for member in members):
                await self._comes_up(name, *members)
        self._world.check(self._left())

    async def _comes_up(self, circuit: str, one: Member, other: Member) -> None:
        before = set(one.known)
        self._act(Action(self._world.now, "start", one.id, circuit))
        await asyncio.sleep(FRESH_SECONDS)
        for id in set(one.known) - before:
            states = [m.known[id].state if id in m.known else None for m in (one, other)]
            if states != [State.ACTIVE, State.ACTIVE]:
                label, problem = self._world.label(id), one.known[id].problem
                self._world.fail(f"liveness: {label} is {states} in a calm world ({problem})")
            self._person(other, "terminate", id)
        if set(one.known) == before:
            self._world.fail(f"liveness: {circuit} cannot be started in a calm world")
        await asyncio.sleep(FRESH_SECONDS)

    # --- fate and people ----------------------------------------------------------------------------------------------

    def _act(self, action: Action) -> None:
        if self._world.chance.calm and action.what != "start":
            return
        self._world.trace(f"* {action.member}: {action.what} {action.circuit}")
        member = self._world.members[action.member]
        match action.what:
            case "start":
                self._begin(member, action.circuit)
            case "terminate" | "release":
                for id, n in list(member.known.items()):
                    if n.circuit == action.circuit and (n.state not in ENDED or action.what == "release"):
                        self._person(member, action.what, id)
            case "change":
                for id, n in list(member.known.items()):
                    if n.circuit == action.circuit and n.state not in ENDED:
                        self._change(member, id, action.wish)
            case "kill negotiator":
                alive = member.alive
                self._world.kill(alive[action.which % len(alive)] if alive else None, action.seconds)
            case "kill configurator":
                router = self._world.layout.by_name[action.circuit].end(member.id).router
                self._world.kill(member.configurators[router], action.seconds)
            case "reboot the router" | "replace the router":
                router = self._world.layout.by_name[action.circuit].end(member.id).router
                device = member.devices[router]
                self._world.kill(member.configurators[router], action.seconds)
                (device.reboot if action.what.startswith("reboot") else device.replace)()
                self._world.device_changed(member.id)
            case "cut the way to the peer":
                self._world.cut = True
                self._world.later(action.seconds, lambda: setattr(self._world, "cut", False))
            case "mute confirm" | "mute order to confirm":
                self._world.muted.add(action.what.removeprefix("mute "))
                self._world.later(action.seconds, self._world.muted.clear)
            case "fall ill":
                self._world.ill |= {negotiator.name for negotiator in member.alive}
                self._world.later(action.seconds, self._world.ill.clear)
            case "slow disk":
                member.slow_disk = True
                self._world.later(action.seconds, lambda: setattr(member, "slow_disk", False))
            case "darken":
                self._world.dark.add(action.circuit)
                self._world.later(action.seconds, lambda: self._lighten(action.circuit))
            case "speak freely":
                self._talk = asyncio.ensure_future(self._world.crooks[member.id].speak(action.seconds))
            case "back up, and restore":
                self._back_up(member, action.seconds)
            case "lose the database":
                self._lose_database(member, action.seconds)
            case other:
                raise AssertionError(other)

    def _begin(self, member: Member, circuit: str) -> None:
        negotiator = member.somebody(self._world.chance, f"start {circuit}")
        if negotiator is None:
            return
        peer = self._world.layout.by_name[circuit].peer(member.id)

        async def work() -> None:
            try:
                request = StartRequest(peer=peer, circuit=circuit)
                n = await negotiator.desk.start(request, f"key-{circuit}-{self._world.now}")
            except MeetMeError as error:
                self._world.trace(f"{member.id}: start {circuit} is refused ({error.code})")
                return
            self._world.started.setdefault(member.id, []).append(n.id)

        negotiator.spawn(work())

    def _person(self, member: Member, what: str, id: UUID) -> None:
        negotiator = member.somebody(self._world.chance, f"{what} {self._world.label(id)}")
        if negotiator is None:
            return
        self._world.asked_to_end.add(id)

        async def work() -> None:
            try:
                await (negotiator.desk.terminate(id) if what == "terminate" else negotiator.desk.release(id))
            except MeetMeError as error:
                self._world.trace(f"{member.id}: {what} {self._world.label(id)} is refused ({error.code})")

        negotiator.spawn(work())

    def _change(self, member: Member, id: UUID, subnets: str) -> None:
        """A person wants the own side of an agreement to announce something else."""
        negotiator = member.somebody(self._world.chance, f"change {self._world.label(id)}")
        if negotiator is None:
            return
        wish = Wish(local_subnets=tuple(ip_network(prefix) for prefix in subnets.split()))
        self._world.wished.setdefault(member.id, set()).add(wish.local_subnets or ())

        async def work() -> None:
            try:
                await negotiator.change(id, wish)
            except MeetMeError as error:
                self._world.trace(f"{member.id}: a change of {self._world.label(id)} is refused ({error.code})")

        negotiator.spawn(work())

    def _lighten(self, circuit: str) -> None:
        self._world.dark.discard(circuit)
        self._world.change()

    def _lose_database(self, member: Member, seconds: float) -> None:
        stands = all(
            n.state is State.ACTIVE or n.state in ENDED for m in self._world.members.values() for n in m.known.values()
        )
        settled = all(device.kept.keys() == device.carried.keys() for device in member.devices.values())
        if not stands or not settled:
            return
        self._forget(member, seconds, None)

    def _back_up(self, member: Member, restored: float) -> None:
        """Copy the database while nothing is under way; what is written from here on is lost when it is restored."""
        busy = any(n.state not in ENDED and (n.state is not State.ACTIVE or n.change) for n in member.known.values())
        if not busy:
            backup = member.disk.copy()
            self._world.later(restored, lambda: self._restore(member, backup))

    def _restore(self, member: Member, backup: bytes) -> None:
        if not self._world.chance.calm:
            self._world.trace(f"* {member.id}: the backup is restored")
            self._forget(member, 1.0, backup)

    def _forget(self, member: Member, seconds: float, backup: bytes | None) -> None:
        self._world.databases_lost = True
        for negotiator in member.alive:
            self._world.kill(negotiator, seconds)
        for forgotten in (member.known, member.held, member.claims):
            forgotten.clear()
        if backup is None:
            member.disk.wipe()
            member.set_up(self._world.layout.circuits)
        else:
            member.disk.restore(backup)
            member.known |= {n.id: n for n in member.disk.run(store.negotiations)}
        self._world.started.pop(member.id, None)
        self._world.committed_at.clear()
        self._world.change_committed_at.clear()
        self._world.answers = {key: answer for key, answer in self._world.answers.items() if key[0] != member.id}
