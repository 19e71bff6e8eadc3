"""Asks the composers at the own ports for ways to a service, all of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from meetme.catalog.offers import OfferEnd
from meetme.catalog.settings import OwnPort
from meetme.catalog.ways import Way, Ways, in_order
from meetme.composer import wire as composer_wire
from meetme.composer.views import CircuitOrder, RefusalView
from meetme.model.agreement import MemberId
from meetme.model.errors import MeetMeError, Problem, Refused, Unreachable

CIRCUITS = "/api/v1/circuits"
Compose = Callable[[str, MemberId, str, CircuitOrder], Awaitable[Any]]
"""Ask the composer of an exchange: the method, whom, the path, what is ordered."""


async def find(orders: Sequence[tuple[OwnPort, OfferEnd, CircuitOrder]], compose: Compose) -> Ways:
    """What each port's exchange offers for each order. Nothing is held."""
    asked = [compose("POST", port.exchange, f"{CIRCUITS}?offers=true", order) for port, _, order in orders]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    ways: list[Way] = []
    refused: list[RefusalView] = []
    problems: list[Problem] = []
    for (port, end, _), answer in zip(orders, answers, strict=True):
        try:
            if isinstance(answer, BaseException):
                raise answer
            offers = composer_wire.read_offers(answer)
        except MeetMeError as error:
            problems.append(error.problem)
        else:
            ways += [Way(port.exchange, port.port, end, each) for each in offers.offers]
            refused += offers.refused
    return Ways(in_order(ways), tuple(dict.fromkeys(refused)), tuple(dict.fromkeys(problems)))


def best(found: Ways) -> Way:
    """The first of them. Raises Unreachable where an exchange could not be asked, Refused `no_way`."""
    if found.ways:
        return found.ways[0]
    if found.problems:
        first = found.problems[0]
        raise Unreachable(first.code, first.text, hint=first.hint)
    said = ", ".join(f"{each.constraint} {each.asked}: {each.nearest} would pass" for each in found.refused)
    raise Refused(
        "no_way",
        f"circuit: must have a way through the federation ({said or 'there is none'})",
        hint="ask for less, or another redundancy",
        field="circuit",
    )
