"""The ways over the federation to a service: what the composers at the buyer's exchanges offer to each of its ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from meetme.catalog.offers import Offer, OfferEnd
from meetme.catalog.settings import OwnPort
from meetme.composer.views import CircuitOrder, ConstraintsBody, EndBody, OfferView, RefusalView
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the service: between a port of the buyer and one of the seller."""

    exchange: MemberId
    """Whose composer offers it: a circuit is ordered there."""
    port: str
    """Of the buyer, at that exchange."""
    end: OfferEnd
    circuit: OfferView

    @property
    def id(self) -> UUID:
        """What is named when it is ordered."""
        return self.circuit.id

    @property
    def members(self) -> tuple[MemberId, ...]:
        """The exchanges that it crosses, in order."""
        return tuple(hop.exchange for hop in self.circuit.path)


@dataclass(frozen=True, slots=True)
class Ways:
    """All that was found, the best first, and why there is no more."""

    ways: tuple[Way, ...] = ()
    refused: tuple[RefusalView, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Of exchanges that could not be asked."""


def circuit_order(
    offer: Offer, me: MemberId, seller: MemberId, port: OwnPort, end: OfferEnd, redundancy: str
) -> CircuitOrder:
    """What the composer of `port`'s exchange is asked for, so that the service works as it should."""
    needs = offer.needs
    return CircuitOrder(
        a=EndBody(me, port.port),
        b=EndBody(seller, end.port),
        bandwidth=needs.bandwidth,
        constraints=ConstraintsBody(max_latency_ms=needs.max_latency_ms),
        redundancy=redundancy,
        mtu=needs.mtu,
    )


def in_order(ways: Iterable[Way]) -> tuple[Way, ...]:
    """The best first: what shares least, then by latency, price and hops."""
    return tuple(
        sorted(
            ways,
            key=lambda way: (
                len(way.circuit.shared),
                way.circuit.latency_ms,
                way.circuit.price,
                way.circuit.hops,
                way.exchange,
                way.port,
                str(way.end),
            ),
        )
    )
