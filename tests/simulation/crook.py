"""A member that does not keep to the protocol: what it says is altered, repeated, or made up.

Its certificate is good and nobody else's signature can be forged; everything else is up to it. The negotiator behind it
is a real one, so that there is something worth altering; once all is calm it tells the truth again.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

from meetme.model.errors import MeetMeError
from meetme.negotiator.messages import MessageType
from meetme.negotiator.states import State
from tests.simulation.member import signed

if TYPE_CHECKING:
    from tests.simulation.member import Member
    from tests.simulation.world import World

PREFIXES = (
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.0/25",
    "10.1.0.0/24",
    "172.16.0.0/24",
    "172.16.1.0/24",
    "172.16.0.0/16",
    "192.168.7.0/24",
    "169.254.100.0/31",
    "fd00::/64",
    "224.0.0.0/4",
    "127.0.0.0/8",
)
ODD = (None, -1, 0, 1, 2**63, 1e308, "", "x", [], {}, True)
Path = tuple[str | int, ...]


class Crook:
    """What one member makes of what its negotiator wanted to say."""

    def __init__(self, world: World, member: Member) -> None:
        self._world = world
        self._member = member
        self._said: list[str] = []
        self._documents: list[Any] = []

    def twist(self, text: str, where: str) -> str:
        """What is sent instead of a message: something else, something older, or the truth."""
        self._said.append(text)
        document = json.loads(text)["body"].get("agreement")
        if document is not None:
            self._documents.append(document)
        if not self._world.strikes("twist", where):
            return text
        random = self._random(where)
        if random.random() < 0.15:
            return random.choice(self._said)
        return self._altered(random, json.loads(text))

    def answer(self, answer: object | None, where: str) -> object | None:
        """What is answered instead."""
        if not isinstance(answer, dict) or not self._world.strikes("twist", where):
            return answer
        result: object = json.loads(self._altered(self._random(where), answer))
        return result

    async def speak(self, seconds: float) -> None:
        """Say something unasked for now and then, for so long."""
        until = self._world.now + seconds
        while self._world.now < until and not self._world.chance.calm:
            random = self._random("speak")
            await asyncio.sleep(random.choice([0.003, 0.05, 0.5]))
            victim = self._world.members[random.choice([id for id in self._world.members if id != self._member.id])]
            negotiator = victim.somebody(self._world.chance, "crook")
            text = self._made_up(random, victim)
            if negotiator is None or text is None:
                continue
            self._world.trace(f"{self._member.id} makes up {text[:400]}")
            negotiator.spawn(self._deliver(negotiator, text))

    async def _deliver(self, receiver: Any, text: str) -> None:
        try:
            await receiver.receive(text, self._member.id)
        except MeetMeError as error:
            self._world.trace(f"{receiver.name} says no ({error.code})")
        except asyncio.CancelledError:
            raise
        except Exception:
            self._world.fail(f"internal error: {traceback.format_exc(limit=-4)}")

    def _random(self, where: str) -> Random:
        return Random(self._world.chance.amount(f"crook {where}", 0.0, 1e12))

    # --- what it makes up ---------------------------------------------------------------------------------------------

    def _made_up(self, random: Random, victim: Member) -> str | None:
        if not self._said:
            return None
        message = json.loads(random.choice(self._said))
        message["to"] = victim.id
        if random.random() < 0.4:
            return json.dumps(self._aimed(random, victim, message))
        for _ in range(random.choice([0, 1, 2])):
            match random.randrange(6):
                case 0:  # what somebody is about, its own or another's
                    ids = [*victim.known, *self._member.known]
                    message["negotiation"] = str(random.choice(ids)) if ids else message["negotiation"]
                case 1:
                    message["circuit"] = random.choice([*self._world.layout.by_name, f"direct:{victim.id}:zulu"])
                case 2:
                    message["message"] = str(self._world.new_id())
                case 3:
                    message["type"] = random.choice(list(MessageType)).value
                case 4:
                    message |= {"type": "query", "message": str(self._world.new_id()), "body": self._claim(random)}
                case _:
                    message["negotiation"] = str(self._world.new_id())
        return json.dumps(message) if random.random() < 0.5 else self._altered(random, message)

    def _aimed(self, random: Random, victim: Member, message: dict[str, Any]) -> dict[str, Any]:
        """What would do harm if it were believed."""
        message |= {"message": str(self._world.new_id()), "from": self._member.id}
        others = list(victim.known.values())
        match random.randrange(3):
            case 0 if others:  # the end of what others have agreed on
                n = random.choice(others)
                return message | {"negotiation": str(n.id), "circuit": n.circuit, "type": "terminate", "body": {}}
            case 1 if self._documents:  # an agreement that nobody but itself has signed
                fresh = str(self._world.new_id())
                forged = self._agreement(random.choice(self._documents)) | {"id": fresh, "circuit": message["circuit"]}
                body = {"state": "active", "revision": 5, "agreement": self._signed(forged)}
                return message | {"negotiation": fresh, "type": "query", "body": body}
            case _:  # the circuit of another
                offers = [one for one in map(json.loads, self._said) if one.get("type") == "propose"]
                about = {"negotiation": str(self._world.new_id()), "circuit": random.choice(["c1", "c2", "c6"])}
                return message | {**(random.choice(offers) if offers else {}), **about, "to": victim.id}

    def _claim(self, random: Random) -> dict[str, Any]:
        """That something stands, with a document that may once have been true."""
        agreement = random.choice(self._documents) if self._documents else None
        return {"state": random.choice(list(State)).value, "revision": random.randrange(9), "agreement": agreement}

    # --- what it alters -----------------------------------------------------------------------------------------------

    def _altered(self, random: Random, message: dict[str, Any]) -> str:
        body = message.get("body", {})
        document = body.get("agreement") if isinstance(body, dict) else None
        if isinstance(document, dict) and random.random() < 0.5:
            body["agreement"] = self._resigned(random, document)
            return json.dumps(message)
        self._alter(random, message)
        if random.random() < 0.2:
            message["message"] = str(self._world.new_id())
        return json.dumps(message)

    def _resigned(self, random: Random, document: dict[str, Any]) -> dict[str, Any]:
        """Another agreement, with its own good signature and the other's, which is not good for it."""
        agreement = self._agreement(document)
        self._alter(random, agreement)
        fresh = self._signed(agreement)
        return {**fresh, "signatures": [*fresh["signatures"], *document["signatures"]]}

    def _agreement(self, document: dict[str, Any]) -> dict[str, Any]:
        text = document["payload"]
        agreement: dict[str, Any] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return agreement

    def _signed(self, agreement: dict[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(signed(json.dumps(agreement, sort_keys=True).encode(), self._member.id))
        return document

    def _alter(self, random: Random, value: Any) -> None:
        places = list(_leaves(value))
        for _ in range(random.choice([1, 1, 2, 3])):
            path, leaf = random.choice(places)
            holder = value
            for key in path[:-1]:
                holder = holder[key] if isinstance(holder, list) or key in holder else {}
            if random.random() < 0.1 and isinstance(holder, dict):
                holder.pop(path[-1], None)
            elif isinstance(holder, dict) or (isinstance(path[-1], int) and path[-1] < len(holder)):
                holder[path[-1]] = self._instead(random, leaf)

    def _instead(self, random: Random, leaf: object) -> object:
        if random.random() < 0.1:
            return random.choice(ODD)
        match leaf:
            case str() if "/" in leaf or leaf == "prefixes":
                return random.choice(PREFIXES)
            case str() if leaf in self._world.members:
                return random.choice(list(self._world.members))
            case str() if leaf in self._world.layout.by_name:
                return random.choice(list(self._world.layout.by_name))
            case str() if leaf in set(State):
                return random.choice(list(State)).value
            case str() if leaf in set(MessageType):
                return random.choice(list(MessageType)).value
            case "initiator" | "responder" | "single" | "none" | "each-own" | "auto" | "numbered" | "unnumbered":
                return random.choice(["initiator", "responder", "single", "none", "each-own", "auto", "numbered"])
            case bool():
                return not leaf
            case int() | float():
                return random.choice([leaf + 1, leaf - 1, 0, 68, 1500, 9000])
            case list():
                return random.choice([[], [random.choice(PREFIXES)], random.sample(PREFIXES, 3)])
            case _:
                return random.choice([None, random.choice(PREFIXES), "c1", 1])


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every place in a JSON value, and every list."""
    match value:
        case {"payload": str(), "signatures": list()}:
            return
        case dict():
            for key, part in value.items():
                yield from _leaves(part, (*path, key))
        case list():
            yield path, value
            for index, part in enumerate(value):
                yield from _leaves(part, (*path, index))
        case _:
            yield path, value
