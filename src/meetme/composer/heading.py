"""What the head decides: which routes are tried, when they are built, when the circuit is active, when it is given up.

Crank-back: a route that was refused is tried again without the element that refused. Elements are collected for one
search, at most `MOST_TRIES` of them. What is only held by somebody else, who may not get it in the end, is waited for
instead, with pauses that grow. An access port has no way around it. Every search has an end: its ninth refusal for
good, or the first one after `SEARCH_SECONDS`. A path that was active once is searched again then, after a pause.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid5

from meetme.composer import events as ev
from meetme.composer.building import SHORTEST_WAIT_SECONDS, build
from meetme.composer.capacity import Ledger, Shortage
from meetme.composer.circuit import Circuit, Element, ElementKind, Leg, Redundancy, Route, Search, State
from meetme.composer.effects import Compose, Effect, Move, Wake
from meetme.composer.holding import begin
from meetme.composer.releasing import give_up, give_up_all
from meetme.model.errors import Fault, Problem

MOST_TRIES = 8
"""How many refusals one search survives."""
MOST_DETOURS = 8
"""How often it tries another way at once where others hold something for the moment; then it waits first."""
SEARCH_SECONDS = 120.0
"""How long a search may take: of a new circuit once its turn has come, of a broken path since then."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
"""How long it waits for what others hold for the moment: doubles, half of it by chance."""
FIRST_HEAL_SECONDS, LONGEST_HEAL_SECONDS = 5.0, 300.0
"""How long until a broken path is searched anew when there was no way: doubles, half of it by chance."""
MOST_BREAKS = 2
"""How often a path that has broken is searched anew at once before all is well for `STEADY_SECONDS`."""
STEADY_SECONDS = 300.0
"""All is well when every path has been there so long, since its route was tried."""

S = State


def start(event: ev.Start) -> Move:
    """Somebody orders a circuit at its head."""
    circuit = Circuit(event.id, event.me, event.head, event.request, event.ordered_by, event.at)
    paths = tuple(range(1, event.request.paths + 1))
    circuit = replace(circuit, wanted=len(paths), searches=tuple(Search(path) for path in paths))
    return replace(circuit, offered=event.routes), (Compose(paths),)


def missing(circuit: Circuit) -> tuple[int, ...]:
    """The paths that nothing is under way for."""
    return tuple(path for path in range(1, circuit.wanted + 1) if circuit.live_leg(path) is None)


def sought(circuit: Circuit) -> tuple[int, ...]:
    """Those of them that do not wait for anything."""
    return tuple(path for path in missing(circuit) if circuit.search(path).due is None)


def composed(circuit: Circuit, routes: tuple[Route, ...], ledger: Ledger, at: float) -> Move:
    """Routes were found for what is missing: reserve the own part of each, and pass it on."""
    circuit = _in_turn(circuit, at)
    lacking = sought(circuit)
    found = {route.path for route in routes}
    effects: tuple[Effect, ...] = ()
    short = Problem("no_route", "path: there must be a route for each", fault=Fault.REMOTE)
    one_of_two = lacking == (1, 2) and found == {1}
    if one_of_two and circuit.established:
        # Both are broken: one is better than none, and the other may be found later.
        circuit, effects = over(circuit, 2, short, at)
    elif one_of_two and circuit.request.redundancy is Redundancy.BEST_EFFORT:
        circuit = replace(circuit, wanted=1)
    elif not set(lacking) <= found:
        return on_compose_failed(circuit, ev.ComposeFailed(at, short))
    for route in routes:
        if circuit.live_leg(route.path) is not None or route.path not in lacking or circuit.ending:
            continue
        search = circuit.search(route.path)
        attempt = max(search.attempt, *(leg.attempt for leg in circuit.legs if leg.path == route.path), 0) + 1
        circuit = _with(circuit, replace(search, attempt=attempt))
        begun = begin(circuit, route, attempt, at, ledger)
        if isinstance(begun, Shortage):
            circuit, more = crank_back(circuit, route.path, begun.problem, begun.element, at)
        else:
            circuit, _, more = begun
        effects += more
    return circuit, effects


def crank_back(circuit: Circuit, path: int, problem: Problem, element: Element | None, at: float) -> Move:
    """A route of this path was refused: try another one, wait, or give the path up."""
    if circuit.ending or path > circuit.wanted:
        return circuit, ()
    search = circuit.search(path)
    passing = element is not None and element.passing
    search = replace(
        search,
        since=at if search.since is None else search.since,
        tries=search.tries + (not passing),
        detours=search.detours + passing,
        excluded=search.excluded if element is None or element in search.excluded else (*search.excluded, element),
    )
    circuit = _with(circuit, search)
    no_way_around = element is not None and element.kind is ElementKind.END
    too_long = _left(circuit, search, at) <= 0
    if too_long or search.tries > MOST_TRIES or (no_way_around and not passing):
        return over(circuit, path, problem, at)
    if no_way_around or search.detours > MOST_DETOURS:
        return _wait(circuit, path, at)
    return circuit, (Compose(sought(circuit)),)


def _in_turn(circuit: Circuit, at: float) -> Circuit:
    """Its turn has come: from now on it is on its way."""
    return replace(circuit, offered=(), turn=at if circuit.turn is None else circuit.turn)


def _left(circuit: Circuit, search: Search, at: float) -> float:
    """How many seconds the search may still take: with nothing left the next refusal is its last."""
    begun = search.since if circuit.established or circuit.turn is None else circuit.turn
    return SEARCH_SECONDS if begun is None else begun + SEARCH_SECONDS - at


def _wait(circuit: Circuit, path: int, at: float) -> Move:
    """What is in the way may be gone shortly; it is tried a last time when the search has no time left."""
    search = circuit.search(path)
    kept = tuple(element for element in search.excluded if not element.passing)
    pause = _pause(circuit.id, f"{path} {search.waits}", search.waits, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    pause = min(pause, _left(circuit, search, at))
    circuit = _with(circuit, replace(search, waits=search.waits + 1, detours=0, excluded=kept, due=at + pause))
    return circuit, _next_due(circuit, at)


def _next_due(circuit: Circuit, at: float) -> tuple[Effect, ...]:
    """The timer of the path that has waited longest."""
    due = [time for path in missing(circuit) if (time := circuit.search(path).due) is not None]
    return (Wake(ev.SearchDue, max(SHORTEST_WAIT_SECONDS, min(due) - at)),) if due else ()


def on_compose_failed(circuit: Circuit, event: ev.ComposeFailed) -> Move:
    """There is no route with what is left: wait for what may come free, search both paths together, or give up."""
    circuit = _in_turn(circuit, event.at)
    lacking = sought(circuit)
    if not lacking:
        return circuit, ()
    for each in (circuit.search(path) for path in lacking):
        if _left(circuit, each, event.at) > 0 and any(element.passing for element in each.excluded):
            return _wait(circuit, each.path, event.at)
    effects: tuple[Effect, ...] = ()
    other = next((leg for leg in circuit.legs if leg.live and leg.path <= circuit.wanted), None)
    search = circuit.search(other.path) if other else None
    strict = circuit.request.redundancy is Redundancy.STRICT and not circuit.established
    if other and search and strict and _left(circuit, search, event.at) > 0 and search.tries <= MOST_TRIES:
        # The route of the other path may be the very one that leaves no room for a second (a trap): both anew.
        circuit = _with(circuit, replace(search, tries=search.tries + 1))
        circuit, effects = give_up(circuit, other, event.problem)
        return circuit, (*effects, Compose(sought(circuit)))
    for path in lacking:
        circuit, more = over(circuit, path, _why(circuit, path, event.problem), event.at)
        effects += more
    return circuit, effects


def _why(circuit: Circuit, path: int, none_left: Problem) -> Problem:
    """What refused last, where that is why no route is left: people can mend that."""
    refused = [leg for leg in circuit.legs if leg.path == path and leg.problem is not None]
    if not refused or not circuit.search(path).excluded:
        return none_left
    last = max(refused, key=lambda leg: leg.attempt).problem
    return replace(last, hint="no other route is left") if last is not None else none_left


def over(circuit: Circuit, path: int, problem: Problem, at: float) -> Move:
    """No route for this path: the end of a new circuit, unless it can do with the other one; else later again."""
    circuit = _with(circuit, replace(circuit.search(path), over=problem, due=None))
    others = [leg for leg in circuit.legs if leg.live and leg.path != path]
    strict = circuit.request.redundancy is Redundancy.STRICT
    if not circuit.established and (strict or not others):
        return give_up_all(circuit, problem)
    circuit = replace(circuit, heals=circuit.heals + 1, problem=problem)
    pause = _pause(circuit.id, f"heal {circuit.heals}", circuit.heals - 1, FIRST_HEAL_SECONDS, LONGEST_HEAL_SECONDS)
    circuit = _with(circuit, replace(circuit.search(path), due=at + pause))
    return circuit, _next_due(circuit, at)


def on_search_due(circuit: Circuit, at: float) -> Move:
    """Look for routes again. What refused when the last search was over may do it no more."""
    for path in missing(circuit):
        search = circuit.search(path)
        if search.due is None or search.due <= at:
            anew = Search(path, search.attempt) if search.over is not None else replace(search, due=None)
            circuit = _with(circuit, anew)
    paths = sought(circuit)
    return circuit, (*((Compose(paths),) if paths else ()), *_next_due(circuit, at))


def leg_gone(circuit: Circuit, leg: Leg, at: float, *, broken: bool) -> Move:
    """A leg was given up, for whatever reason but the end of the circuit. `broken`: it was active."""
    lost = Problem("path_lost", "path: was given up by an exchange on it", fault=Fault.REMOTE)
    problem = leg.problem or lost
    if broken and circuit.established and not circuit.ending and leg.path <= circuit.wanted:
        if circuit.breaks >= MOST_BREAKS:
            return over(circuit, leg.path, problem, at)
        circuit = replace(circuit, breaks=circuit.breaks + 1)
    return crank_back(circuit, leg.path, problem, leg.element, at)


def advance(circuit: Circuit, at: float) -> Move:
    """Whatever can be built by now is built; a path that is active starts its next search from nothing."""
    effects: tuple[Effect, ...] = ()
    legs = [leg for path in range(1, circuit.wanted + 1) if (leg := circuit.live_leg(path)) is not None]
    whole = len(legs) == circuit.wanted and all(leg.state is not S.HELD for leg in legs)
    together = circuit.request.redundancy is Redundancy.STRICT and not circuit.established
    for leg in legs:
        fresh = leg.state is S.COMMITTED and leg.segment is leg.segment.ABSENT
        if fresh and (whole or not together):
            circuit, more = build(circuit, leg, at)
            effects += more
        if leg.state is S.ACTIVE and circuit.search(leg.path) != Search(leg.path, leg.attempt):
            circuit = _with(circuit, Search(leg.path, leg.attempt))
    active = [leg for leg in legs if leg.state is S.ACTIVE]
    searching = [path for path in missing(circuit) if circuit.search(path).over is None]
    alone = bool(active) and len(active) == len(legs) and not searching and not together
    if not circuit.established and active and (len(active) == circuit.wanted or alone):
        circuit = replace(circuit, established=True, problem=None)
    if circuit.established and len(active) == circuit.wanted:
        circuit = replace(circuit, problem=None)
        if all(at - leg.began >= STEADY_SECONDS for leg in active):
            circuit = replace(circuit, heals=0, breaks=0)
    return circuit, effects


def known_attempt(circuit: Circuit, path: int, seen: int) -> Circuit:
    """The circuit whose next attempt at a path is above one that somebody has seen already (a restored backup)."""
    search = circuit.search(path)
    return _with(circuit, replace(search, attempt=seen)) if circuit.is_head and seen > search.attempt else circuit


def _with(circuit: Circuit, search: Search) -> Circuit:
    others = tuple(x for x in circuit.searches if x.path != search.path)
    return replace(circuit, searches=tuple(sorted((*others, search), key=lambda x: x.path)))


def _pause(id: UUID, what: str, count: int, first: float, longest: float) -> float:
    """A pause that doubles; half of it by chance, which for each circuit is another one and always the same."""
    chance = (uuid5(id, what).int % 1000) / 1000.0
    return min(longest, first * 2.0 ** min(count, 16)) * (0.5 + chance / 2)
