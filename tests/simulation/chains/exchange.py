"""An exchange as its composer sees it: it builds and removes segments by name, slowly, and not always rightly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meetme.composer.capacity import link
from meetme.composer.circuit import MemberId

if TYPE_CHECKING:
    from tests.simulation.chains.world import World


@dataclass(frozen=True)
class Built:
    """One segment at the exchange."""

    reference: str
    in_port: str
    in_vlan: int | None
    out_port: str
    out_vlan: int | None
    bandwidth: int
    ready: bool = False

    @property
    def ends(self) -> tuple[tuple[str, int | None], ...]:
        """Port and VLAN of both ends."""
        return (self.in_port, self.in_vlan), (self.out_port, self.out_vlan)


class Refusing(Exception):
    """The exchange says no, for good."""


class Exchange:
    """What it carries. Survives everything that happens to the composer."""

    def __init__(self, world: World, name: MemberId) -> None:
        self._world = world
        self.name = name
        self.segments: dict[str, Built] = {}
        self.refuses = False
        """It builds nothing new any more."""

    def order(self, wanted: Built) -> None:
        """An order to build has arrived. Raises Refusing."""
        if wanted.reference in self.segments:
            return
        world = self._world
        if self.refuses or world.strikes("exchange refuses", self.name):
            raise Refusing(f"{self.name} refuses")
        circuit = wanted.reference.partition("#")[0]
        for other in self.segments.values():
            clash = set(other.ends) & set(wanted.ends)
            same = other.reference.startswith(circuit) and all(
                port in world.federation.access[self.name] for port, _ in clash
            )
            if clash and not same:
                world.clash(
                    f"{self.name}: {wanted.reference} and {other.reference} both have {sorted(map(str, clash))}"
                )
                raise Refusing(f"{self.name}: {clash} is in use")
        self._check_capacity(wanted)
        if world.strikes("other vlan", self.name) and wanted.out_vlan is not None:
            wanted = replace(wanted, out_vlan=wanted.out_vlan + 1000)
        self.segments[wanted.reference] = wanted

    def _check_capacity(self, wanted: Built) -> None:
        limits = self._world.federation.limits[self.name]
        for port in {wanted.in_port, wanted.out_port}:
            limit = limits.get(link(port))
            used = sum(x.bandwidth for x in self.segments.values() if port in (x.in_port, x.out_port))
            if limit is not None and used + wanted.bandwidth > limit.bandwidth:
                self._world.clash(
                    f"{self.name}: {port} would carry {used + wanted.bandwidth} of {limit.bandwidth} Mbit/s"
                )

    def finish(self, reference: str) -> Built | None:
        """It is in production now, if it is still there."""
        if reference in self.segments:
            self.segments[reference] = replace(self.segments[reference], ready=True)
        return self.segments.get(reference)

    def remove(self, reference: str) -> None:
        """It is taken down. What is not there is gone."""
        self.segments.pop(reference, None)

    def ready(self, reference: str) -> bool:
        """Whether it is in production."""
        found = self.segments.get(reference)
        return found is not None and found.ready
