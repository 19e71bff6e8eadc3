"""Makes the switches follow: performs what bundles owe, and tells what became of it.

What fails is told as an event and owed again by the rules, so that whoever looks at the service sees why it is not in
production. Every order may be given twice.
"""

from __future__ import annotations

import json

from meetme.ixapi import store
from meetme.ixapi.bundle import (
    Applied,
    ArchiveDue,
    Bundle,
    Confirmed,
    DayCame,
    Event,
    Failed,
    Lost,
    Phase,
    Removed,
    Work,
)
from meetme.ixapi.course import DAY, today
from meetme.ixapi.switches import Switches
from meetme.model.errors import Fault, MeetMeError, NotFound, Problem
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Lease

CONFIRM_SECONDS = 60.0
"""After which a switch takes back what nobody has confirmed."""


class Performer:
    """What the loop calls for every effect."""

    def __init__(self, database: Database, switches: Switches, clock: Clock, mtu: int) -> None:
        self._database = database
        self._switches = switches
        self._clock = clock
        self._mtu = mtu

    async def __call__(self, lease: Lease) -> Event | None:
        """Perform one effect. None: it is not wanted any more."""
        facts = json.loads(lease.body)
        if lease.kind == "wake":
            now = self._clock.now()
            return DayCame(today(now), now) if facts["kind"] == DAY else ArchiveDue(now)
        bundle = await self._database.read(lambda tx: store.load(tx, lease.instance))
        work = _work(bundle, facts["switch"], facts["name"], facts["generation"])
        if bundle is None or work is None:
            return None
        try:
            return await self._order(bundle, work, Phase(facts["verb"]))
        except MeetMeError as error:
            return Failed(work.switch, work.name, work.generation, error.problem, self._clock.now())

    async def _order(self, bundle: Bundle, work: Work, verb: Phase) -> Event:
        owner = bundle.owner_of(work.name)
        about = (work.switch, work.name, work.generation)
        async with self._switches.get(work.switch).control() as switch:
            match verb:
                case Phase.APPLY:
                    await switch.apply(bundle.intent(work, self._mtu), confirm_seconds=CONFIRM_SECONDS)
                    return Applied(*about, self._clock.now())
                case Phase.CONFIRM:
                    try:
                        await switch.confirm(work.name, owner, work.generation)
                    except NotFound:
                        return Lost(*about, self._clock.now())
                    return Confirmed(*about, self._clock.now())
                case _:
                    removal = await switch.remove(work.name, owner, work.generation)
        if removal.left_on_device:
            left = Problem(
                "left_on_device",
                f"switch '{work.switch}': cannot take back all of '{work.name}' ({'; '.join(removal.left_on_device)})",
                "take it back by hand",
                fault=Fault.DEVICE,
            )
            return Failed(*about, left, self._clock.now())
        return Removed(*about, self._clock.now())


def _work(bundle: Bundle | None, switch: str, name: str, generation: int) -> Work | None:
    """The piece that an effect is about; None: it was replaced meanwhile."""
    for work in bundle.works if bundle else ():
        if work.place == (switch, name) and work.generation == generation:
            return work
    return None
