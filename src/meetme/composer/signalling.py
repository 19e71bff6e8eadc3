"""How a circuit is set up across exchanges and taken back: the one place where it changes state (thesis chapter 4).

Rules of this file:

1. Every change of state is in `TRANSITIONS`; `step` refuses to make one that is not. The diagram in the documentation
   is made from this table. What each event does is in `heading`, `holding`, `building`, `releasing`, `aligning`.
2. It does no I/O and knows no clock: events in, the next value and the effects owed out. All composers run one table.
3. An event that the table does not allow changes nothing. If it was a message, the answer says where this side stands.
4. The previous composer owns what the next one does for it, the head owns the circuit. Before `commit` has come back
   everything goes by itself when its time is over; nothing is active before every segment is in production.
5. Release wins, from every state, from anywhere on the way. It is owed to both neighbours until they have answered.
6. What is claimed follows from the state alone (`capacity.claims`); a label is free again only when both sides of the
   link have let go of it.
"""

from __future__ import annotations

from dataclasses import replace

from meetme.composer import aligning, answering, building, heading, holding, passing, releasing
from meetme.composer import events as ev
from meetme.composer.answering import stranger_answer
from meetme.composer.circuit import ENDED, Circuit, Leg, Segment, State
from meetme.composer.effects import COMPOSE, Cancel, Compose, Effect, Move, Outcome, Wake
from meetme.composer.events import Event
from meetme.model.errors import Problem

__all__ = ["OF_LEG", "STATES", "TRANSITIONS", "allowed", "step", "stranger_answer"]

S = State
TRANSITIONS: dict[tuple[State | None, type[Event]], tuple[State, ...]] = {
    # a leg: reserving. None is a leg that this composer has not, or not any more
    (None, ev.HoldReceived): (S.HELD, S.COMMITTED, S.RELEASED),
    (S.HELD, ev.HeldReceived): (S.HELD, S.RELEASING),
    (S.HELD, ev.CommitReceived): (S.COMMITTED, S.RELEASING),
    (S.HELD, ev.RefusedReceived): (S.RELEASING,),
    (S.HELD, ev.Unanswered): (S.HELD, S.RELEASING),
    (S.HELD, ev.Deadline): (S.HELD, S.RELEASING),
    (S.HELD, ev.QueryReceived): (S.HELD, S.RELEASING, S.RELEASED),
    (S.HELD, ev.StateReceived): (S.HELD, S.RELEASING, S.RELEASED),
    # a leg: building
    (S.COMMITTED, ev.ActivateReceived): (S.COMMITTED, S.RELEASING),
    (S.COMMITTED, ev.Built): (S.COMMITTED, S.ACTIVE, S.RELEASING),
    (S.COMMITTED, ev.BuildFailed): (S.COMMITTED, S.RELEASING),
    (S.COMMITTED, ev.Seen): (S.COMMITTED,),
    (S.COMMITTED, ev.ActivatedReceived): (S.COMMITTED, S.ACTIVE),
    (S.COMMITTED, ev.RefusedReceived): (S.RELEASING,),
    (S.COMMITTED, ev.Deadline): (S.COMMITTED, S.RELEASING),
    (S.COMMITTED, ev.QueryReceived): (S.COMMITTED, S.ACTIVE, S.RELEASING, S.RELEASED),
    (S.COMMITTED, ev.StateReceived): (S.COMMITTED, S.ACTIVE, S.RELEASING, S.RELEASED),
    # a leg in production
    (S.ACTIVE, ev.Built): (S.ACTIVE, S.RELEASING),
    (S.ACTIVE, ev.BuildFailed): (S.ACTIVE, S.RELEASING),
    (S.ACTIVE, ev.Seen): (S.ACTIVE,),
    (S.ACTIVE, ev.Deadline): (S.ACTIVE, S.RELEASING),
    (S.ACTIVE, ev.QueryReceived): (S.ACTIVE, S.RELEASING),
    (S.ACTIVE, ev.StateReceived): (S.ACTIVE, S.RELEASING),
    (None, ev.Restored): (S.ACTIVE, S.RELEASING, S.RELEASED),
    # a leg: taking it back
    (S.HELD, ev.ReleaseReceived): (S.RELEASING, S.RELEASED),
    (S.COMMITTED, ev.ReleaseReceived): (S.RELEASING,),
    (S.ACTIVE, ev.ReleaseReceived): (S.RELEASING,),
    (S.RELEASING, ev.ReleaseReceived): (S.RELEASING, S.RELEASED),
    (S.RELEASED, ev.ReleaseReceived): (S.RELEASED,),
    (S.RELEASING, ev.ReleasedReceived): (S.RELEASING, S.RELEASED),
    (S.RELEASING, ev.Removed): (S.RELEASING, S.RELEASED),
    (S.RELEASING, ev.Deadline): (S.RELEASING,),
    (S.RELEASING, ev.QueryReceived): (S.RELEASING, S.RELEASED),
    (S.RELEASING, ev.StateReceived): (S.RELEASING, S.RELEASED),
    # the circuit, at the head and wherever people ask for it
    (None, ev.Start): (S.HELD, S.COMMITTED, S.RELEASING, S.FAILED),
    (None, ev.PassedOn): (S.HELD, S.FAILED),
    (S.HELD, ev.AcceptedReceived): (S.HELD,),
    (S.COMMITTED, ev.AcceptedReceived): (S.COMMITTED,),
    (S.ACTIVE, ev.AcceptedReceived): (S.ACTIVE,),
    (S.DEGRADED, ev.AcceptedReceived): (S.DEGRADED,),
    (S.RELEASING, ev.AcceptedReceived): (S.RELEASING,),
    (S.HELD, ev.Composed): (S.HELD, S.COMMITTED, S.DEGRADED, S.RELEASING, S.FAILED),
    (S.HELD, ev.ComposeFailed): (S.HELD, S.DEGRADED, S.RELEASING, S.FAILED),
    (S.HELD, ev.SearchDue): (S.HELD,),
    (S.DEGRADED, ev.Composed): (S.DEGRADED,),
    (S.DEGRADED, ev.ComposeFailed): (S.DEGRADED,),
    (S.DEGRADED, ev.SearchDue): (S.DEGRADED,),
    (S.HELD, ev.CompareDue): (S.HELD,),
    (S.COMMITTED, ev.CompareDue): (S.COMMITTED,),
    (S.ACTIVE, ev.CompareDue): (S.ACTIVE,),
    (S.DEGRADED, ev.CompareDue): (S.DEGRADED,),
    (S.RELEASING, ev.CompareDue): (S.RELEASING,),
    (S.HELD, ev.ReleaseAsked): (S.RELEASING, S.RELEASED),
    (S.COMMITTED, ev.ReleaseAsked): (S.RELEASING,),
    (S.ACTIVE, ev.ReleaseAsked): (S.RELEASING,),
    (S.DEGRADED, ev.ReleaseAsked): (S.RELEASING, S.RELEASED),
    (S.RELEASING, ev.ReleaseAsked): (S.RELEASING, S.RELEASED),
    (S.RELEASING, ev.LetGoAsked): (S.RELEASING, S.RELEASED, S.FAILED),
}
"""(state, event) → the states it may lead to: of the leg, where the event is about a leg (`OF_LEG`), else of the
circuit."""

STATES: dict[State | None, tuple[State, ...]] = {
    None: (S.HELD, S.COMMITTED, S.ACTIVE, S.DEGRADED, S.RELEASING, S.RELEASED, S.FAILED),
    S.HELD: (S.COMMITTED, S.ACTIVE, S.DEGRADED, S.RELEASING, S.RELEASED, S.FAILED),
    S.COMMITTED: (S.HELD, S.ACTIVE, S.DEGRADED, S.RELEASING, S.RELEASED, S.FAILED),
    S.ACTIVE: (S.DEGRADED, S.RELEASING, S.RELEASED),
    S.DEGRADED: (S.ACTIVE, S.RELEASING, S.RELEASED),
    S.RELEASING: (S.HELD, S.COMMITTED, S.ACTIVE, S.DEGRADED, S.RELEASED, S.FAILED),
    S.RELEASED: (S.HELD, S.COMMITTED, S.ACTIVE, S.DEGRADED, S.RELEASING, S.FAILED),
    S.FAILED: (S.HELD, S.COMMITTED, S.ACTIVE, S.DEGRADED, S.RELEASING),
}
"""How the state of a circuit, which follows from its legs, may change. A composer that is not the head may come back
from an end: another route leads through it."""

OF_LEG = (
    ev.HoldReceived,
    ev.HeldReceived,
    ev.CommitReceived,
    ev.ActivateReceived,
    ev.ActivatedReceived,
    ev.RefusedReceived,
    ev.ReleaseReceived,
    ev.ReleasedReceived,
    ev.QueryReceived,
    ev.StateReceived,
    ev.Restored,
    ev.Built,
    ev.BuildFailed,
    ev.Removed,
    ev.Seen,
    ev.Deadline,
    ev.Unanswered,
)
"""Events about a leg; with path 0 they are about the circuit, and change no leg."""


def allowed(now: Circuit | None, event: Event) -> bool:
    """Whether the table has a row for this event in this state."""
    if isinstance(event, OF_LEG) and event.path != 0:
        leg = now.leg(event.path, event.attempt) if now else None
        begins = isinstance(event, ev.HoldReceived | ev.Restored)
        known = None if begins else leg
        return ((known.state if known else None), type(event)) in TRANSITIONS
    if isinstance(event, OF_LEG):
        return now is not None
    return ((now.state if now else None), type(event)) in TRANSITIONS


def step(now: Circuit | None, event: Event) -> Outcome:
    """Advance one composer's circuit by one event. Raises LookupError for an event that cannot create one."""
    before = replace(now, answers=()) if now and now.answers else now
    if not allowed(before, event):
        if before is None:
            raise LookupError(f"{type(event).__name__} cannot begin a circuit")
        return Outcome(answering.standing_answer(before, event))
    after, effects = _react(before, event)
    _check_leg(before, after, event)
    if after.is_head:
        after, more = _decide(before, after, event)
        effects += more
    after, more = _enter(before, _tidy(after), event)
    last = {effect.key: effect for effect in (*effects, *more)}
    return Outcome(_composing(after, event, last.get(COMPOSE)), tuple(last.values()))


def _react(c: Circuit | None, event: Event) -> Move:
    match event:
        case ev.Start() if event.head != event.me:
            return passing.pass_on(event)
        case ev.Start():
            return heading.start(event)
        case ev.PassedOn():
            return passing.on_passed(event)
        case ev.HoldReceived():
            return holding.on_hold(c, event)
        case ev.Restored():
            return aligning.restore(c, event)
    if c is None:
        raise LookupError(f"{type(event).__name__} cannot begin a circuit")
    if isinstance(event, OF_LEG):
        leg = c.leg(event.path, event.attempt)
        return _of_circuit(c, event) if leg is None else _of_leg(c, leg, event)
    return _of_circuit(c, event)


def _of_leg(c: Circuit, leg: Leg, event: Event) -> Move:
    match event:
        case ev.HeldReceived():
            return holding.on_held(c, leg, event)
        case ev.CommitReceived():
            return holding.on_commit(c, leg, event)
        case ev.Unanswered():
            return holding.on_unanswered(c, leg, event)
        case ev.ActivateReceived():
            return building.on_activate(c, leg, event)
        case ev.ActivatedReceived():
            return building.on_activated(c, leg, event)
        case ev.Built():
            return building.on_built(c, leg, event)
        case ev.BuildFailed():
            return building.on_build_failed(c, leg, event)
        case ev.Seen():
            return building.on_seen(c, leg, event)
        case ev.Deadline() if leg.state is S.RELEASING:
            return releasing.on_overdue(c, leg)
        case ev.Deadline():
            return building.on_deadline(c, leg, event)
        case ev.QueryReceived():
            return aligning.on_query(c, leg, event)
        case ev.StateReceived():
            return aligning.on_state(c, leg, event)
        case ev.Removed():
            return releasing.on_removed(c, leg, event.at)
        case ev.ReleasedReceived():
            return releasing.side_done(c, leg, event.peer)
        case ev.RefusedReceived():
            c = heading.known_attempt(c, event.path, event.seen)
            return _all_if(event.whole, event.problem, releasing.give_up(c, leg, event.problem, event.element))
        case ev.ReleaseReceived():
            return _all_if(event.whole, event.problem, releasing.on_release(c, leg, event))
        case _:
            raise AssertionError(event)


def _of_circuit(c: Circuit, event: Event) -> Move:
    match event:
        case ev.Composed():
            return heading.composed(c, event.routes, event.ledger, event.at)
        case ev.ComposeFailed():
            return heading.on_compose_failed(c, event)
        case ev.SearchDue():
            return heading.on_search_due(c, event.at)
        case ev.CompareDue():
            return _compare(c)
        case ev.ReleaseAsked():
            return passing.end(c, None) if c.passed else releasing.give_up_all(c, None)
        case ev.LetGoAsked():
            return releasing.let_go(c)
        case ev.AcceptedReceived():
            return passing.on_accepted(c)
        case ev.RefusedReceived():
            return passing.on_refused(c, event)
        case ev.Unanswered():
            return passing.on_unanswered(c, event)
        case ev.ReleaseReceived():
            return passing.on_release(c, event)
        case ev.ReleasedReceived():
            return passing.on_released(c)
        case ev.QueryReceived():
            return passing.on_query(c, event)
        case ev.StateReceived():
            return passing.on_state(c, event)
        case _:
            return c, ()


def _all_if(whole: bool, problem: Problem | None, move: Move) -> Move:
    """After one leg everything, where a neighbour has said that it takes the circuit back as a whole."""
    if not whole or move[0].ending:
        return move
    circuit, effects = releasing.give_up_all(move[0], problem)
    return circuit, (*move[1], *effects)


def _compare(c: Circuit) -> Move:
    c, effects = aligning.compare(c)
    c, more = passing.ask(c)
    timers = [effect for effect in (*effects, *more) if isinstance(effect, Wake)]
    others = tuple(effect for effect in (*effects, *more) if not isinstance(effect, Wake))
    return c, (*others, *sorted(timers, key=lambda timer: timer.after)[:1])


# --- after every event ------------------------------------------------------------------------------------------------


def _check_leg(before: Circuit | None, after: Circuit, event: Event) -> None:
    if not isinstance(event, OF_LEG) or event.path == 0:
        return
    old = before.leg(event.path, event.attempt) if before else None
    new = after.leg(event.path, event.attempt)
    if old is None and new is None:
        return
    begun = isinstance(event, ev.HoldReceived | ev.Restored)
    if begun and old is not None and new is not None and new.state is old.state:
        return
    if new is None or new.state not in TRANSITIONS[None if begun or old is None else old.state, type(event)]:
        were, now = (leg.state if leg else None for leg in (old, new))
        raise AssertionError(f"{type(event).__name__} may not lead a leg from {were} to {now}")


def _decide(before: Circuit | None, after: Circuit, event: Event) -> Move:
    """The head: a leg that was given up leads to another route, what is reserved is built, what is active counts."""
    effects: tuple[Effect, ...] = ()
    if isinstance(event, OF_LEG) and before is not None:
        for leg in after.legs:
            old = before.leg(leg.path, leg.attempt)
            if old is not None and old.live and not leg.live:
                after, more = heading.leg_gone(after, leg, event.at, broken=old.state is S.ACTIVE)
                effects += more
    if after.ending:
        return after, effects
    after, more = heading.advance(after, event.at)
    return after, (*effects, *more)


def _tidy(circuit: Circuit) -> Circuit:
    """Without legs of which nothing is left, but for the last of each path: by it a late `hold` is known as late."""
    last = {leg.path: max(x.attempt for x in circuit.legs if x.path == leg.path) for leg in circuit.legs}
    kept = tuple(leg for leg in circuit.legs if leg.state is not S.RELEASED or leg.attempt == last[leg.path])
    return replace(circuit, legs=kept) if kept != circuit.legs else circuit


def _enter(before: Circuit | None, after: Circuit, event: Event) -> Move:
    """The circuit's own state, which follows from its legs; the head tells the others."""
    old, new = before.state if before else None, _state(after)
    effects: tuple[Effect, ...] = ()
    if new is not old:
        if new not in STATES[old]:
            raise AssertionError(f"{type(event).__name__} may not lead a circuit from {old} to {new}")
        after = replace(after, state=new, revision=after.revision + 1)
        if new in ENDED and old is not None:
            effects += (Cancel(Wake(ev.CompareDue, 0).key),)
        if after.is_head:
            after, effects = aligning.spread(after)
    if not isinstance(event, OF_LEG) and new not in TRANSITIONS[old, type(event)]:
        raise AssertionError(f"{type(event).__name__} may not lead a circuit from {old} to {new}")
    return after, effects


def _composing(c: Circuit, event: Event, owed: Effect | None) -> Circuit:
    found = isinstance(event, ev.Composed | ev.ComposeFailed)
    composing = isinstance(owed, Compose) or (c.composing and owed is None and not found)
    return replace(c, composing=composing) if composing is not c.composing else c


def _state(c: Circuit) -> State:
    live = [leg for leg in c.legs if leg.live]
    left = any(leg.state is S.RELEASING for leg in c.legs)
    over = S.FAILED if c.problem is not None and not c.established else S.RELEASED
    if c.ending:
        if left or (c.passed and not c.parted):
            return S.RELEASING
        return c.told if c.passed and c.told is not None and c.told in ENDED else over
    active = [leg for leg in live if leg.state is S.ACTIVE]
    broken = any(leg.segment is not Segment.READY for leg in active)
    if c.is_head and c.wanted:
        if c.established:
            return S.ACTIVE if len(active) == c.wanted and not broken else S.DEGRADED
        reserved = sum(leg.state is not S.HELD for leg in live)
        return S.COMMITTED if reserved == c.wanted else S.HELD
    if active and c.established:
        return S.DEGRADED if broken or c.told is S.DEGRADED else S.ACTIVE
    if c.passed and not live:
        return c.told if c.told in (S.ACTIVE, S.DEGRADED, S.COMMITTED, S.RELEASING) else S.HELD
    if live and c.established:
        return S.DEGRADED
    if live:
        return S.HELD if all(leg.state is S.HELD for leg in live) else S.COMMITTED
    return S.RELEASING if left else over
