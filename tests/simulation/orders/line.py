"""The way between two catalogs: requests and answers that are lost, repeated, delayed and overtaken."""

from __future__ import annotations

import asyncio
import json
import traceback
from typing import TYPE_CHECKING

from meetme.catalog import wire
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, MeetMeError, Unreachable

if TYPE_CHECKING:
    from tests.simulation.orders.member import Catalog
    from tests.simulation.orders.world import World

TIMEOUT = 8.0
"""How long a catalog waits for an answer: longer than the other one takes to say that it has none yet."""


class OrderLine:
    """The way of one process to the other members (`performer.CatalogLine`)."""

    def __init__(self, world: World, sender: Catalog) -> None:
        self._world = world
        self._sender = sender

    async def send(self, peer: MemberId, message: wire.Message) -> object | None:
        """POST the message: the answer, or None where there is none yet."""
        world, me = self._world, self._sender.member.id
        where = f"{me}>{peer} {message.type} {world.label(message.order)}"
        text = wire.write_message(message)
        if (crook := world.crooks.get(me)) is not None:
            text = crook.twist(text, where)
        if world.cut_off(me, peer):
            raise _unreachable()
        reply: asyncio.Future[object | None] = asyncio.get_running_loop().create_future()
        for copy in range(2 if world.strikes("repeat", where) else 1):
            if world.strikes("lose request", where):
                continue
            delay = world.chance.amount(where, 0.002, 0.03)
            if copy or world.strikes("delay", where):
                delay += world.chance.amount(f"late {where}", 0.1, 25.0)
            world.later(delay, lambda: self._arrive(peer, text, where, reply))
        try:
            async with asyncio.timeout(TIMEOUT):
                return await reply
        except TimeoutError:
            raise _unreachable("peer_timeout") from None

    def _arrive(self, peer: MemberId, text: str, where: str, reply: asyncio.Future[object | None]) -> None:
        world = self._world
        receiver = world.members[peer].somebody(world.chance, where)
        if receiver is None or world.cut_off(self._sender.member.id, peer):
            _answer(reply, _unreachable())
            return
        world.trace(f"{where} arrives")
        receiver.spawn(self._handled(receiver, text, where, reply))

    async def _handled(self, receiver: Catalog, text: str, where: str, reply: asyncio.Future[object | None]) -> None:
        world, sender = self._world, self._sender.member.id
        result: object | MeetMeError | None
        try:
            receiver.crash_point("before a message is handled")
            answer = await receiver.inbox.receive(text, sender)
            if answer is not None:
                world.answered(receiver.member, sender, text, answer)
            receiver.crash_point("after a message was handled, before its answer left")
            result = None if answer is None else json.loads(answer)
            if (crook := world.crooks.get(receiver.member.id)) is not None:
                result = crook.answer(result, text, where)
        except MeetMeError as error:
            result = error
        except asyncio.CancelledError:
            result = _unreachable()
        except Exception:
            world.fail(f"internal error: {traceback.format_exc(limit=-4)}")
            return
        if not (world.strikes("lose answer", where) or world.cut_off(sender, receiver.member.id)):
            world.later(world.chance.amount(where, 0.002, 0.03), lambda: _answer(reply, result))


def _unreachable(code: str = "peer_unreachable") -> Unreachable:
    return Unreachable(code, "peer: no answer", fault=Fault.REMOTE)


def _answer(reply: asyncio.Future[object | None], result: object | MeetMeError | None) -> None:
    if reply.done():
        return
    if isinstance(result, MeetMeError):
        reply.set_exception(result)
    else:
        reply.set_result(result)
