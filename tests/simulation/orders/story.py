"""The course of a run: the actions of its schedule, then calm, then the end, then a new beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from meetme.catalog.views import OrderRequest
from meetme.catalog.words import ENDED, State, What
from meetme.model.agreement import MemberId
from meetme.model.errors import MeetMeError
from tests.simulation.orders import invariants, times
from tests.simulation.orders.member import Member
from tests.simulation.orders.schedule import Action

if TYPE_CHECKING:
    from tests.simulation.orders.world import World

LATEST_SECONDS = 30.0
"""By then every message that was delayed has arrived."""
FRESH_SECONDS = 12.0
"""In a calm world, from an order to active at both sides."""


class Story:
    """Trouble for a while, then everything heals, both sides have to agree, and nothing may be left."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def tell(self) -> None:
        """From the first action to the end, when nothing is left."""
        world = self._world
        for member in world.members.values():
            world.start(member)
        for action in world.schedule.actions:
            world.at(action.at, lambda action=action: self._act(action))  # type: ignore[misc]
        await asyncio.sleep(world.schedule.seconds)
        self._heal()
        await self._settle("nothing hangs", lambda: invariants.nothing_hangs(world))
        await self._settle("both sides agree", lambda: invariants.both_agree(world))
        await self._settle("active means there", lambda: invariants.active_means_there(world))
        world.check(invariants.nothing_is_lost(world))
        world.states = [n.state for member in world.honest for n in member.known.values()]
        await self._end_everything()
        await asyncio.sleep(LATEST_SECONDS)
        await self._end_everything()
        await self._start_afresh()

    def _heal(self) -> None:
        world = self._world
        world.trace("everything heals")
        world.chance.calm = True
        world.cut.clear()
        world.away.clear()
        world.ground.stuck.clear()
        for member in world.members.values():
            member.withdrawn = False
            world.start(member)

    async def _settle(self, what: str, wrong: Callable[[], Iterable[str]]) -> None:
        until = self._world.now + times.CALM
        while left := list(wrong()):
            if self._world.now > until:
                self._world.fail(f"{what}: {left[0]}")
                return
            await asyncio.sleep(1.0)

    async def _end_everything(self) -> None:
        world = self._world
        for id in world.placed:
            for name in world.parties[id]:
                n = world.members[name].known.get(id)
                if n is not None and n.state not in ENDED:
                    self._person(world.members[name], lambda c, id=id: c.desk.terminate(id))  # type: ignore[misc]
        await self._settle("nothing is left", lambda: invariants.nothing_is_left(world))

    async def _start_afresh(self) -> None:
        """Who leaves nothing behind can begin again."""
        world = self._world
        if world.crooks:
            return
        one, other = list(world.members.values())[:2]
        before = len(world.placed)
        self._act(Action(world.now, "place", one.id, other=other.id, offer="vault"))
        await asyncio.sleep(FRESH_SECONDS)
        for id in world.placed[before:]:
            states = [m.known[id].state if id in m.known else None for m in (one, other)]
            if states != [State.ACTIVE, State.ACTIVE]:
                world.fail(f"liveness: {world.label(id)} is {states} in a calm world ({one.known[id].problem})")
        if len(world.placed) == before:
            world.fail("liveness: nothing can be ordered in a calm world")
        await self._end_everything()

    # --- fate and people ----------------------------------------------------------------------------------------------

    def _act(self, action: Action) -> None:
        world, member = self._world, self._world.members[action.member]
        world.trace(f"# {action}")
        match action.what:
            case "place":
                assert action.other is not None
                self._place(member, action.other, action.offer)
            case "approve" | "decline" | "buyer regrets" | "seller regrets":
                self._decide(action)
            case "kill":
                for process in member.alive:
                    world.kill(process, action.seconds)
            case "cut":
                self._for_a_while(world.cut, member.id, action.seconds)
            case "away":
                self._for_a_while(world.away, member.id, action.seconds)
            case "circuit stuck" | "attachment stuck" | "negotiation stuck":
                what = What(action.what.split()[0])
                self._for_a_while(world.ground.stuck, (what, member.id), action.seconds)
            case "withdraw":
                member.withdrawn = True
                world.later(action.seconds, lambda: setattr(member, "withdrawn", False))
            case "backup":
                member.backup = member.disk.copy()
            case "restore":
                self._restore(member, action.seconds)
            case _:
                raise AssertionError(action.what)

    def _for_a_while(self, where: set[Any], what: Any, seconds: float) -> None:
        where.add(what)
        self._world.later(seconds, lambda: where.discard(what))

    def _place(self, member: Member, seller: MemberId, offer: str) -> None:
        world = self._world

        async def place(catalog: Any) -> None:
            n = await catalog.desk.place(OrderRequest(f"{seller}/{offer}"))
            world.acknowledged.add(n.id)

        self._person(member, place)

    def _decide(self, action: Action) -> None:
        world = self._world
        if action.order >= len(world.placed) or world.chance.calm:
            return
        id = world.placed[action.order]
        buyer, seller = (world.members[name] for name in world.parties[id])
        match action.what:
            case "approve":

                async def approve(catalog: Any) -> None:
                    world.approved.add(id)
                    await catalog.desk.approve(id, "ada")

                self._person(seller, approve)
            case "decline":
                self._person(seller, lambda catalog: catalog.desk.decline(id, "ada"))
            case "buyer regrets":
                self._person(buyer, lambda catalog: catalog.desk.terminate(id))
            case _:
                self._person(seller, lambda catalog: catalog.desk.terminate(id))

    def _restore(self, member: Member, seconds: float) -> None:
        if member.backup is None:
            return
        for process in member.alive:
            self._world.kill(process, seconds)
        member.disk.restore(member.backup)
        member.restored = True
        ids = {UUID(text) for (text,) in member.disk.raw.execute("SELECT id FROM catalog_order")}
        for id in set(member.known) - ids:
            del member.known[id]

    def _person(self, member: Member, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        world = self._world
        catalog = member.somebody(world.chance, "person")
        if catalog is None:
            return

        async def ask() -> None:
            try:
                await work(catalog)
            except MeetMeError as error:
                world.trace(f"{member.id} refuses: {error.code}: {error.text}")

        catalog.spawn(ask())
