"""The course of a run: the actions of its schedule, then calm, then the end, then a new beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from meetme.model.errors import MeetMeError
from meetme.negotiator.states import ENDED, State
from meetme.negotiator.views import StartRequest
from tests.simulation import invariants
from tests.simulation.member import ALFA, BRAVO, Member
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
        for member in self._world.members.values():
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
        for member in self._world.members.values():
            member.slow_disk = False
            self._world.start_processes(member)

    async def _settle(self, what: str, wrong: Callable[[], Iterable[str]]) -> None:
        """Wait until nothing is wrong. In a calm world that takes a bounded time."""
        until = self._world.now + CALM_SECONDS
        while left := list(wrong()):
            if self._world.now > until:
                self._world.fail(f"{what}: {left[0]}")
                return
            await asyncio.sleep(1.0)

    def _left(self) -> Iterator[str]:
        for member in self._world.members.values():
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
        if not any(member.probes for member in self._world.members.values()):
            return
        for circuit in sorted({action.circuit for action in self._world.schedule.actions}):
            before = set(self._world.members[ALFA].known)
            self._act(Action(self._world.now, "start", ALFA, circuit))
            await asyncio.sleep(FRESH_SECONDS)
            for id in set(self._world.members[ALFA].known) - before:
                states = [m.known[id].state if id in m.known else None for m in self._world.members.values()]
                if states != [State.ACTIVE, State.ACTIVE]:
                    problem = self._world.members[ALFA].known[id].problem
                    self._world.fail(f"liveness: {self._world.label(id)} is {states} in a calm world ({problem})")
                self._person(self._world.members[BRAVO], "terminate", id)
            if set(self._world.members[ALFA].known) == before:
                self._world.fail(f"liveness: {circuit} cannot be started in a calm world")
            await asyncio.sleep(FRESH_SECONDS)
        self._world.check(self._left())

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
            case "kill negotiator":
                self._world.kill(member.negotiator, action.seconds)
            case "kill configurator":
                self._world.kill(member.configurator, action.seconds)
            case "cut the way to the peer":
                self._world.cut = True
                self._world.later(action.seconds, lambda: setattr(self._world, "cut", False))
            case "mute confirm" | "mute order to confirm":
                self._world.muted.add(action.what.removeprefix("mute "))
                self._world.later(action.seconds, self._world.muted.clear)
            case "fall ill":
                self._world.ill.add(f"{member.id}'s negotiator")
                self._world.later(action.seconds, self._world.ill.clear)
            case "slow disk":
                member.slow_disk = True
                self._world.later(action.seconds, lambda: setattr(member, "slow_disk", False))
            case "darken":
                self._world.dark.add(action.circuit)
                self._world.later(action.seconds, lambda: self._lighten(action.circuit))
            case "lose the database":
                self._lose_database(member, action.seconds)
            case other:
                raise AssertionError(other)

    def _begin(self, member: Member, circuit: str) -> None:
        negotiator = member.negotiator
        if negotiator is None:
            return

        async def work() -> None:
            try:
                request = StartRequest(peer=member.peer, circuit=circuit)
                n = await negotiator.desk.start(request, f"key-{circuit}-{self._world.now}")
            except MeetMeError as error:
                self._world.trace(f"{member.id}: start {circuit} is refused ({error.code})")
                return
            self._world.started.setdefault(member.id, []).append(n.id)

        negotiator.spawn(work())

    def _person(self, member: Member, what: str, id: UUID) -> None:
        negotiator = member.negotiator
        if negotiator is None:
            return

        async def work() -> None:
            try:
                await (negotiator.desk.terminate(id) if what == "terminate" else negotiator.desk.release(id))
            except MeetMeError as error:
                self._world.trace(f"{member.id}: {what} {self._world.label(id)} is refused ({error.code})")

        negotiator.spawn(work())

    def _lighten(self, circuit: str) -> None:
        self._world.dark.discard(circuit)
        self._world.change()

    def _lose_database(self, member: Member, seconds: float) -> None:
        stands = all(
            n.state is State.ACTIVE or n.state in ENDED for m in self._world.members.values() for n in m.known.values()
        )
        if not stands or member.device.kept.keys() != member.device.carried.keys():
            return
        self._world.databases_lost = True
        self._world.kill(member.negotiator, seconds)
        member.disk.wipe()
        member.set_up()
        member.known.clear()
        member.claims.clear()
        self._world.started.pop(member.id, None)
        self._world.committed_at.clear()
        self._world.answers = {key: answer for key, answer in self._world.answers.items() if key[0] != member.id}
