"""The way between the two negotiators: requests and answers that are lost, repeated, delayed and overtaken."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, MeetMeError, Unreachable
from meetme.negotiator import wire
from meetme.negotiator.roll import Roll

if TYPE_CHECKING:
    from tests.simulation.member import Negotiator
    from tests.simulation.world import World

TIMEOUT = 8.0
"""How long a negotiator waits for an answer of the peer: longer than the peer takes to say that it has none yet."""


def unreachable(code: str = "peer_unreachable") -> Unreachable:
    """What a client says when it cannot know whether its message arrived."""
    return Unreachable(code, "peer: no answer", fault=Fault.REMOTE)


Handling = Callable[["Negotiator"], Awaitable[str | None]]
"""What a receiver does with what has arrived: the text of its answer."""


class PeerWire:
    """The way of one process to the other member (`performer.PeerLine`, `roll_call.RollLine`)."""

    def __init__(self, world: World, sender: Negotiator) -> None:
        self._world = world
        self._sender = sender

    async def send(self, peer: MemberId, message: wire.Message) -> object | None:
        """POST the message: the answer, or None where there is none yet."""
        world, me = self._world, self._sender.member.id
        where = f"{me}>{peer} {message.type} {world.label(message.negotiation)}"
        text = wire.write_message(message)
        if (crook := world.crooks.get(me)) is not None:
            text = crook.twist(text, where)

        async def handle(receiver: Negotiator) -> str | None:
            answer = await receiver.receive(text, me)
            if answer is not None:
                world.acknowledge(receiver.member, me, text, answer)
            return answer

        return await self._ask(peer, message.type, where, handle)

    async def compare(self, peer: MemberId, roll: Roll) -> object | None:
        """POST the roll: the answer."""
        me, text = self._sender.member.id, json.dumps(wire.roll_json(roll))
        return await self._ask(peer, "roll", f"{me}>{peer} roll", lambda receiver: receiver.rolls.answer(text, me))

    async def _ask(self, peer: MemberId, kind: str, where: str, handle: Handling) -> object | None:
        world = self._world
        if world.cut:
            raise unreachable()
        reply: asyncio.Future[object | None] = asyncio.get_running_loop().create_future()
        for copy in range(2 if world.strikes("repeat", where) else 1):
            muted = kind in world.muted or world.strikes(f"lose {kind}", where)
            if muted or world.strikes("lose request", where):
                continue
            delay = world.chance.amount(where, 0.002, 0.03)
            if copy or world.strikes("delay", where):
                delay += world.chance.amount(f"late {where}", 0.1, 25.0)
            world.later(delay, lambda: self._arrive(peer, kind, where, handle, reply))
        try:
            async with asyncio.timeout(TIMEOUT):
                return await reply
        except TimeoutError:
            raise unreachable("peer_timeout") from None

    def _arrive(
        self, peer: MemberId, kind: str, where: str, handle: Handling, reply: asyncio.Future[object | None]
    ) -> None:
        world = self._world
        receiver = world.members[peer].somebody(world.chance, where)
        if world.cut or receiver is None:
            _answer(reply, unreachable())
            return
        world.trace(f"{where} arrives")
        receiver.spawn(self._handled(receiver, kind, where, handle, reply))

    async def _handled(
        self, receiver: Negotiator, kind: str, where: str, handle: Handling, reply: asyncio.Future[object | None]
    ) -> None:
        world = self._world
        result: object | MeetMeError | None
        try:
            receiver.crash_point("before a message is handled")
            answer = await handle(receiver)
            receiver.crash_point("after a message was handled, before its answer left")
            result = None if answer is None else json.loads(answer)
            if (crook := world.crooks.get(receiver.member.id)) is not None:
                result = crook.answer(result, where)
        except MeetMeError as error:
            result = error
        except asyncio.CancelledError:
            result = unreachable()
        except Exception:
            world.fail(f"internal error: {traceback.format_exc(limit=-4)}")
            return
        lost = world.strikes("lose answer", where) or world.strikes(f"lose {kind}'s answer", where)
        if lost or world.cut:
            return
        world.later(world.chance.amount(where, 0.002, 0.03), lambda: _answer(reply, result))


def _answer(reply: asyncio.Future[object | None], result: object | MeetMeError | None) -> None:
    if reply.done():
        return
    if isinstance(result, MeetMeError):
        reply.set_exception(result)
    else:
        reply.set_result(result)
