"""What a seller makes of a request: its own offer counts, not what the buyer says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from meetme.catalog.offers import Listing, Offer
from meetme.catalog.words import Connectivity, Wanted
from meetme.model.errors import Fault, Problem


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is ordered by the seller's own word, and why it is not for sale; None: it is."""

    wanted: Wanted
    refusal: Problem | None = None
    offered: Offer | None = None


def judge(wanted: Wanted, own: Listing | None) -> Judgement:
    """Hold a request against the own listing. What was ordered from an older listing counts if it says the same."""
    offer = own.offer(wanted.offer) if own is not None else None
    if offer is None:
        return Judgement(
            wanted,
            Problem(
                "offer_withdrawn",
                f'offer: must be one that is offered ("{wanted.offer[:63]}")',
                "look at the catalogue again: it has been withdrawn",
                "offer",
                Fault.REMOTE,
            ),
        )
    ours = replace(
        wanted,
        connectivity=offer.connectivity,
        approval=offer.approval,
        words=offer.instructions if offer.connectivity is Connectivity.NONE else "",
    )
    if wanted.connectivity is not offer.connectivity:
        return Judgement(
            ours,
            Problem(
                "offer_changed",
                f'offer: must be ordered as it is offered now ("{offer.name}": {offer.connectivity})',
                "look at the catalogue again: it has changed since",
                "offer",
                Fault.REMOTE,
            ),
        )
    return Judgement(ours, offered=offer)
