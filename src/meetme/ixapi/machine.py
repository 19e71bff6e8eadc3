"""The ledger's machine around the rules: loads, steps, and saves a bundle with all that it claims at once."""

from __future__ import annotations

import json
from collections.abc import Callable

import structlog
from sqlalchemy import Connection

from meetme.ixapi import store
from meetme.ixapi.bundle import NOTHING, Bundle, Effect, Event, Program, WakeAt
from meetme.ixapi.claims import claims
from meetme.ixapi.course import Course
from meetme.ixapi.objects import State
from meetme.runtime.database import afterwards
from meetme.runtime.ledger import Owed, Step

Entered = Callable[[State], None]


class BundleMachine:
    """What the ledger and the loop run."""

    name = "ixapi"

    def __init__(self, course: Course, entered: Entered = lambda _state: None) -> None:
        """`entered` is told of every state that a service comes into."""
        self.course = course
        self._entered = entered
        self._log = structlog.get_logger().bind(service="ixapi")

    def load(self, tx: Connection, instance: str) -> Bundle | None:
        """The bundle as it is stored."""
        return store.load(tx, instance)

    def step(self, state: Bundle | None, event: Event) -> Step[Bundle]:
        """Ask the rules."""
        bundle, effects = self.course.step(state, event)
        return Step(bundle, tuple(write_effect(effect) for effect in effects))

    def save(self, tx: Connection, before: Bundle | None, after: Bundle, event: Event, now: float) -> None:
        """Write the bundle, its objects, and what it claims."""
        if after == before:
            return
        plant = self.course.plant
        had = NOTHING if before is None else claims(before, plant)
        store.save(tx, before, after, had, claims(after, plant))
        afterwards(tx, lambda: self._report(before, after, event))

    def _report(self, before: Bundle | None, after: Bundle, event: Event) -> None:
        """Log and count what has become of it. Only what is on disk is reported."""
        known = {s.id: s for s in before.services} if before else {}
        for service in after.services:
            was = known.get(service.id)
            if was is not None and (was.state, was.status) == (service.state, service.status):
                continue
            self._log.info(
                "state",
                network_service=service.id,
                external_ref=service.papers.external_ref,
                before=was.state.value if was else None,
                after=service.state.value,
                event_kind=type(event).__name__,
                says=[each.message for each in service.status],
            )
            if was is None or was.state is not service.state:
                self._entered(service.state)


def write_effect(effect: Effect) -> Owed:
    """An effect of the rules as the ledger keeps it."""
    match effect:
        case Program(switch=switch, name=name, verb=verb, generation=generation, after=after):
            body = {"switch": switch, "name": name, "verb": verb.value, "generation": generation}
            return Owed(f"{switch}/{name}", "program", json.dumps(body), after)
        case WakeAt(kind=kind, after=after):
            return Owed(f"wake/{kind}", "wake", json.dumps({"kind": kind}), after)
