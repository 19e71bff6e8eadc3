"""What a switch has beside what the books say that it has. Pure.

The books' word wins: a piece that is missing, or is another one, is ordered again. A piece that is of no use is taken
away only where the books know whose it was, and know of later orders for the same bundle. Any other one, which a store
that was lost or another exchange may have ordered, is a stray: a person hears of it, and decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from uuid import UUID, uuid5

from meetme.ixapi.bundle import Bundle, Differs, Leftover, Phase, Work
from meetme.model.intent import AppliedSegment, LinkState


def missing(
    switch: str, bundles: Collection[Bundle], segments: Collection[AppliedSegment], mtu: int, now: float
) -> Iterator[tuple[UUID, Differs]]:
    """The bundles that a switch does not follow any more though it had. `bundles` were read before the switch was."""
    there = {each.intent.circuit: each for each in segments}
    for bundle in bundles:
        for work in bundle.works:
            found = there.get(work.name)
            if work.switch != switch or work.phase is not Phase.DONE:
                continue
            if found is None or not _as_ordered(found, bundle, work, mtu):
                yield bundle.id, Differs(switch, work.name, work.generation, now)


def unknown(
    switch: str, bundles: Collection[Bundle], segments: Collection[AppliedSegment]
) -> tuple[AppliedSegment, ...]:
    """What is in force on a switch and no bundle wants there. `bundles` were read after the switch was."""
    wanted = {
        (work.name, bundle.owner_of(work.name)) for bundle in bundles for work in bundle.works if work.switch == switch
    }
    return tuple(
        each
        for each in segments
        if each.state is not LinkState.REMOVING and (each.intent.circuit, each.intent.service) not in wanted
    )


def owners(segments: Collection[AppliedSegment], bundles: Collection[UUID]) -> Mapping[str, UUID]:
    """By circuit the bundle, of all there ever were, that once ordered it. Nobody else can know its id."""
    asked = {each.intent.circuit: each.intent.service for each in segments}
    return {circuit: id for circuit, service in asked.items() for id in bundles if uuid5(id, circuit) == service}


def leftover(switch: str, found: AppliedSegment, now: float) -> Leftover:
    """The order to take away what a known bundle has no use for."""
    intent = found.intent
    return Leftover(switch, intent.circuit, intent.a, intent.b, intent.generation, now)


def _as_ordered(found: AppliedSegment, bundle: Bundle, work: Work, mtu: int) -> bool:
    there, wanted = found.intent, bundle.intent(work, mtu)
    return found.state is LinkState.CONFIRMED and (
        (there.service, there.a, there.b, there.mtu, there.bandwidth)
        == (wanted.service, wanted.a, wanted.b, wanted.mtu, wanted.bandwidth)
    )
