"""A member that says whatever it likes on the wire, under its own name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from meetme.catalog.words import State

if TYPE_CHECKING:
    from tests.simulation.orders.world import World

_STATES = [*(state.value for state in State), None]
_PROBLEM = {"code": "made_up", "text": "x: because", "hint": "", "field": None, "fault": "local"}
_REPLIES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "request": [("approved", {}), ("declined", {"problem": _PROBLEM}), ("pending", {"seconds": 1.0})],
    "attach": [("attached", {}), ("terminated", {})],
    "terminate": [("terminated", {})],
    "query": [("state", {"state": None})],
}


class Crook:
    """Its lies."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _one(self, where: str, of: list[Any]) -> Any:
        return of[int(self._world.chance.amount(f"lie {where}", 0, len(of)))]

    def twist(self, text: str, where: str) -> str:
        """What it sends instead of what it should."""
        if not self._world.strikes("lie", f"to send {where}"):
            return text
        raw = json.loads(text)
        match raw["type"]:
            case "attach" if self._one(where, [True, False]):
                raw["type"], raw["body"] = "query", {"state": "active"}
            case "attach":
                raw["body"]["circuit"] = self._one(where, [*(c.id for c in self._world.ground.circuits.values()), "?"])
            case "query":
                raw["body"]["state"] = self._one(where, _STATES)
            case "request":
                said = raw["body"]["wanted"]
                said["connectivity"] = self._one(where, [said["connectivity"], "none", "l2", "l3"])
                raw["body"]["wanted"]["approval"] = False
            case _:
                raw["type"], raw["body"] = "attach", {"circuit": "?"}
        return json.dumps(raw)

    def answer(self, answer: object, text: str, where: str) -> object:
        """What it answers instead of what it should."""
        if not self._world.strikes("lie", f"to answer {where}"):
            return answer
        said = json.loads(text)
        kind, body = self._one(where, _REPLIES[said["type"]])
        if kind == "state":
            body = {"state": self._one(where, _STATES)}
        if not isinstance(answer, dict):
            return answer
        return {**answer, "type": kind, "body": body}
