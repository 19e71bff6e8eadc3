"""Seeing an active order from near: the own exchange, the own negotiator and the federation, asked at once.

Somebody waits in front of a page: who does not answer soon is left out, and that is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from meetme.catalog.sight import Course, Sight, Terms
from meetme.composer.topology_views import TopologyView
from meetme.composer.views import CircuitView
from meetme.model.agreement import Role
from meetme.model.errors import MeetMeError, Problem, Unreachable
from meetme.negotiator.views import NegotiationView

SECONDS = 3.0
T = TypeVar("T")


async def look(
    *,
    circuit: Coroutine[Any, Any, CircuitView | None] | None,
    negotiation: Coroutine[Any, Any, NegotiationView | None] | None,
    federation: Coroutine[Any, Any, TopologyView | None],
) -> Sight:
    """Everything that is told within `SECONDS`."""
    problems: list[Problem] = []

    async def asked(whom: str, question: Coroutine[Any, Any, T | None] | None) -> T | None:
        if question is None:
            return None
        try:
            async with asyncio.timeout(SECONDS):
                return await question
        except TimeoutError:
            late = Unreachable(f"{whom}_late", f"{whom}: must answer within {SECONDS:g} s", hint="look again later")
            problems.append(late.problem)
        except MeetMeError as error:
            problems.append(error.problem)
        return None

    c, n, known = await asyncio.gather(
        asked("exchange", circuit), asked("negotiator", negotiation), asked("federation", federation)
    )
    return Sight(
        course=None if c is None else _course(c),
        terms=None if n is None else _terms(n),
        health=None if n is None else n.health,
        federation=known,
        problems=tuple(dict.fromkeys(problems)),
    )


def _course(c: CircuitView) -> Course:
    path, second = (tuple(hop.exchange for hop in hops) for hops in (c.path, c.second_path))
    return Course(c.state.value, c.bandwidth, path, second)


def _terms(n: NegotiationView) -> Terms | None:
    agreed = n.agreement
    if agreed is None:
        return None
    ends = (agreed.link.initiator, agreed.link.responder)
    mine, theirs = ends if n.role is Role.INITIATOR else ends[::-1]
    return Terms(
        mine=agreed.side(n.role),
        theirs=agreed.side(n.role.other),
        link=agreed.link.kind,
        translation=agreed.translation,
        mtu=agreed.mtu,
        my_address=None if mine is None else str(mine),
        their_address=None if theirs is None else str(theirs),
    )
