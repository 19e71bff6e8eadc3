"""Circuits from the exchanges where the member has ports, agreements from its own negotiator (`underlay.Underlay`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from meetme.catalog import member_looks, member_sight, member_ways
from meetme.catalog.member_readings import circuit_standing, reach
from meetme.catalog.member_strays import KEY, MemberStrays
from meetme.catalog.member_ways import CIRCUITS
from meetme.catalog.offers import Offer, OfferEnd
from meetme.catalog.order import End, Order, Reach
from meetme.catalog.settings import CatalogSettings
from meetme.catalog.sight import Sight
from meetme.catalog.stray_views import Made
from meetme.catalog.underlay import NEVER_OURS, CircuitStanding, NegotiationStanding, News
from meetme.catalog.ways import Ways, circuit_order
from meetme.catalog.words import Connectivity, Party, What
from meetme.composer import topology_views
from meetme.composer import wire as composer_wire
from meetme.composer.topology_views import TOPOLOGY, TopologyView
from meetme.composer.views import CircuitOrder, CircuitView
from meetme.composer.words import ENDED as CIRCUIT_ENDED
from meetme.composer.words import State as CircuitState
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, MeetMeError, NotFound, Problem, Refused, Unreachable
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.messages import Verified
from meetme.negotiator.negotiation import Attachment, Health
from meetme.negotiator.states import ENDED, State
from meetme.negotiator.views import NegotiationView, StartRequest
from meetme.runtime.diagnosis import Finding
from meetme.runtime.peer_client import PeerClient

BEGUN = frozenset({"idempotency_key_in_flight", "idempotency_key_reused"})
"""What an exchange says of a request with the key of one that led, or is about to lead, to a circuit."""
WAIT_SECONDS = 5
"""How long an answer may wait for news: well under what is waited for any answer."""


class MemberUnderlay:
    """This member's share of the federation. `negotiator`: a client of the own one; None: there is none.

    Both clients stay their owner's to close.
    """

    def __init__(
        self, settings: CatalogSettings, me: MemberId, client: PeerClient, negotiator: NegotiatorClient | None
    ) -> None:
        self._settings = settings
        self._me = me
        self._client = client
        self._negotiator = negotiator
        self._strays = MemberStrays(settings, client, negotiator)

    # --- ways ---------------------------------------------------------------------------------------------------------

    async def ways(self, offer: Offer, seller: MemberId, redundancy: str | None = None) -> Ways:
        """Every way from an own port to an end of the offer that some exchange offers. Nothing is held."""
        wanted = redundancy or offer.needs.redundancy
        orders = [
            (port, end, circuit_order(offer, self._me, seller, port, end, wanted))
            for port in self._settings.port
            for end in offer.ends
        ]
        return await member_ways.find(orders, self._compose)

    # --- circuits -----------------------------------------------------------------------------------------------------

    async def make_circuit(self, order: Order) -> CircuitStanding:
        """Have it built, once for each order: one that this order has begun already is found again."""
        chosen = order.wanted.circuit_offer
        # Nothing is held for an offer: the best way may be looked for while it is looked whether there is a circuit.
        looking = asyncio.create_task(self._best(order)) if chosen is None else None
        try:
            known = await self.circuit(order)
            if known is not None:
                return known
            if looking is None:
                raw = await self._chosen(order, CircuitOrder(offer=chosen))
            else:
                exchange, wanted = await looking
                raw = await self._compose("POST", exchange, CIRCUITS, wanted, key=_key(order))
        except MeetMeError as error:
            if error.code not in BEGUN:
                raise
            # An earlier attempt, which was given up before it was answered, has begun one after all.
            raise Unreachable(
                "circuit_begun", "circuit: is being begun already", hint="it is looked for again"
            ) from error
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        return circuit_standing(composer_wire.read_view(raw))

    async def _chosen(self, order: Order, wanted: CircuitOrder) -> Any:
        """The way that was chosen is known to the exchange that has offered it."""
        for exchange in self._exchanges(order):
            with suppress(NotFound):
                return await self._compose("POST", exchange, CIRCUITS, wanted, key=_key(order))
        raise Refused(
            "way_unknown",
            f"circuit_offer: must be one that an own exchange still offers ('{wanted.offer}')",
            hint="ways are offered for a short time: choose one anew",
            field="circuit_offer",
        )

    async def _best(self, order: Order) -> tuple[MemberId, CircuitOrder]:
        offer = _offered(order)
        if not self._settings.port:
            raise InvalidInput(
                "port_missing",
                "port: must be set: without a port at an exchange nothing can be reached",
                hint="[[catalog.port]] in the settings",
                field="port",
            )
        best = member_ways.best(await self.ways(offer, order.partner, order.wanted.redundancy))
        return best.exchange, CircuitOrder(offer=best.id)

    async def circuit(self, order: Order) -> CircuitStanding | None:
        """How it stands, at whichever own exchange has it."""
        found = await self._find(order)
        return None if found is None else circuit_standing(found[1])

    async def remove_circuit(self, order: Order) -> bool:
        """Have it taken back. False: that is under way."""
        found = await self._find(order)
        if found is None:
            return True
        exchange, circuit = found
        if circuit.state in CIRCUIT_ENDED:
            return True
        if circuit.state is not CircuitState.RELEASING:
            await self._compose("DELETE", exchange, f"{CIRCUITS}/{circuit.id}")
        return False

    async def _find(self, order: Order) -> tuple[MemberId, CircuitView] | None:
        """The order's circuit, and the exchange that was asked for it: by its id where that is known, else by its key.

        Every own exchange that may have it has to answer before it is said that there is none.
        """
        exchanges = self._exchanges(order)
        if order.circuit.id is None:
            path = f"{CIRCUITS}?ordered_with={_key(order)}"
            answers = await asyncio.gather(
                *(self._compose("GET", each, path) for each in exchanges), return_exceptions=True
            )
            for exchange, answer in zip(exchanges, answers, strict=True):
                if not isinstance(answer, BaseException):
                    for raw in answer or ():
                        return exchange, composer_wire.read_view(raw)
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
            return None
        for exchange in exchanges:
            with suppress(NotFound):
                raw = await self._compose("GET", exchange, f"{CIRCUITS}/{order.circuit.id}")
                return exchange, composer_wire.read_view(raw)
        return None

    def _exchanges(self, order: Order) -> tuple[MemberId, ...]:
        """Where its circuit may be: at the exchange whose way was chosen, else at any of the own ones."""
        if order.wanted.exchange is not None and order.party is Party.BUYER:
            return (order.wanted.exchange,)
        return tuple(dict.fromkeys(port.exchange for port in self._settings.port))

    async def _compose(
        self, method: str, exchange: MemberId, path: str, order: CircuitOrder | None = None, *, key: str | None = None
    ) -> Any:
        body = None if order is None else composer_wire.order_json(order)
        answer = await self._client.request(method, exchange, "composer", path, body, key=key)
        return answer.document

    # --- attachments --------------------------------------------------------------------------------------------------

    async def attach(self, order: Order) -> End:
        """The own end as the own exchange gives it; the own negotiator is told where it lands."""
        end = await self._end(order)
        if order.wanted.connectivity is Connectivity.L3:
            landing = self._settings.lands(end.exchange, end.port)
            if landing is None:
                raise Refused(
                    "port_unknown",
                    f"port: must be one that the settings know ('{end.exchange} {end.port}')",
                    hint="[[catalog.port]] exchange, port, lands",
                    field="port",
                )
            client = self._own_negotiator()
            attachment = Attachment(*landing, end.vlan, end.mtu, order.partner)
            await client.put_attachment(_circuit(order), attachment)
        return end

    async def _end(self, order: Order) -> End:
        for exchange in self._exchanges(order):
            try:
                raw = await self._compose("GET", exchange, f"{CIRCUITS}/{_circuit(order)}")
            except NotFound:
                continue
            circuit = composer_wire.read_view(raw)
            self._check_owner(order, circuit)
            for end in circuit.ends:
                if end.member == self._me and end.exchange in (exchange, None) and end.mtu is not None:
                    return _offered_end(order, End(exchange, end.port, end.vlan, end.mtu))
        raise Refused(
            "circuit_unknown",
            f"circuit: must end at a port of ours ('{_circuit(order)}' is known at none of our exchanges)",
            hint="compare [[catalog.port]] of both members with meetme topology",
            field="circuit",
        )

    def _check_owner(self, order: Order, circuit: CircuitView) -> None:
        """The other side names the circuit: it must not be able to name one that we have with somebody else."""
        buyer = self._me if order.party is Party.BUYER else order.partner
        if circuit.ordered_by != buyer:
            raise Refused(
                NEVER_OURS,
                f"circuit: must have been ordered by {buyer} ('{circuit.id}' was by {circuit.ordered_by})",
                hint="the buyer's catalog server named one that is not of this order",
                field="circuit",
            )

    async def detach(self, order: Order) -> None:
        """Have the own negotiator forget where it lands."""
        if order.wanted.connectivity is not Connectivity.L3 or order.circuit.id is None:
            return
        if self._negotiator is None and not order.attachment.known:
            return  # where there is none, nothing was registered
        client = self._own_negotiator()
        with suppress(NotFound):
            known = await client.attachment(_circuit(order))
            if known.peer == order.partner:  # else it never was this order's: the seller has its name from the buyer
                await client.delete_attachment(_circuit(order))

    # --- negotiations -------------------------------------------------------------------------------------------------

    async def make_negotiation(self, order: Order) -> NegotiationStanding:
        """Start it, once for each order."""
        offer = _offered(order)
        target = None if offer.address is None else str(offer.address)
        request = StartRequest(peer=order.partner, circuit=_circuit(order), order=str(order.id), probe_target=target)
        client = self._own_negotiator()
        return self._standing(order, await client.start(request, idempotency_key=_key(order)))

    async def negotiation(self, order: Order) -> NegotiationStanding | None:
        """How the one over the order's circuit stands, whoever started it: the newest, if there were several."""
        client = self._own_negotiator()
        found = await self._negotiation(client, order)
        return None if found is None else self._standing(order, found)

    async def end_negotiation(self, order: Order) -> bool:
        """Have it taken back. False: that is under way."""
        if order.wanted.connectivity is not Connectivity.L3 or order.circuit.id is None:
            return True
        client = self._own_negotiator()
        found = await self._negotiation(client, order)
        if found is None or found.state in ENDED:
            return True
        if found.state is not State.TERMINATING:
            await client.terminate(found.id)
        return False

    async def verify(self, order: Order) -> Reach:
        """What the negotiation has proven: packets went along the customers' path, to the service itself where the
        offer names an address of it.
        """
        client = self._own_negotiator()
        found = await self._negotiation(client, order)
        if found is None or found.state is not State.ACTIVE:
            raise Refused("negotiation_ended", "negotiation: must be active", field="negotiation")
        if found.verified is not Verified.PATH:
            raise Refused(
                "service_unproven",
                f"service: must be seen to answer along the customers' path (verified: {found.verified})",
                hint="give the border routers an address in the agreed prefixes, or the offer an address that answers",
                field="service",
            )
        return reach(order, found)

    # --- listening ----------------------------------------------------------------------------------------------------

    async def news(self, order: Order, what: What, seen: int) -> News | None:
        """From the exchange that was asked for it, or from the own negotiator."""
        match what:
            case What.CIRCUIT if order.circuit.id is not None:
                path = f"{CIRCUITS}/{order.circuit.id}"
                for exchange in self._exchanges(order):
                    with suppress(NotFound):
                        answer = await self._client.get_news(exchange, "composer", path, seen, WAIT_SECONDS)
                        return News(circuit_standing(composer_wire.read_view(answer.document)), answer.last_event)
            case What.NEGOTIATION if order.negotiation.id is not None:
                client = self._own_negotiator()
                view, last = await client.news(order.negotiation.id, seen, WAIT_SECONDS)
                return News(self._standing(order, view), last)
        return None

    # --- seeing -------------------------------------------------------------------------------------------------------

    async def sight(self, order: Order) -> Sight:
        """What is seen of it from near, at the own exchange and the own negotiator, each within a short time."""
        return await member_sight.look(
            circuit=None if order.circuit.id is None else self._circuit_of(order),
            negotiation=None if order.negotiation.id is None else self._view_of(order),
            federation=self.federation(),
        )

    async def looks(self) -> Sequence[Finding]:
        """The composer of each own port's exchange, whether it knows the port, and the own negotiator."""
        return await member_looks.look(self._settings.port, self._client, self._negotiator)

    async def made(self) -> Sequence[Made]:
        """Everything that orders of this member have made, as far as it is still there."""
        return await self._strays.made()

    async def take_back(self, made: Made) -> bool:
        """Have it taken back. False: that is under way, and is gone on with by the next call."""
        return await self._strays.take_back(made)

    async def healths(self) -> Mapping[str, Health]:
        """How the data plane of every agreement does, by the id of its negotiation."""
        if self._negotiator is None:
            return {}
        client = self._own_negotiator()
        return {str(n.id): n.health for n in await client.negotiations() if n.health is not None}

    async def _circuit_of(self, order: Order) -> CircuitView | None:
        found = await self._find(order)
        return None if found is None else found[1]

    async def _view_of(self, order: Order) -> NegotiationView | None:
        client = self._own_negotiator()
        return await self._negotiation(client, order)

    async def federation(self) -> TopologyView | None:
        """The exchanges and their links, as an own exchange knows them. None: none of them tells."""
        for exchange in dict.fromkeys(port.exchange for port in self._settings.port):
            with suppress(MeetMeError):
                answer = await self._client.get(exchange, "composer", TOPOLOGY)
                return topology_views.read_view(answer.document)
        return None

    async def _negotiation(self, client: NegotiatorClient, order: Order) -> NegotiationView | None:
        if order.negotiation.id is not None:
            try:
                return await client.negotiation(order.negotiation.id)
            except NotFound:
                return None
        return next((n for n in await client.negotiations(_circuit(order)) if n.peer == order.partner), None)

    def _standing(self, order: Order, n: NegotiationView) -> NegotiationStanding:
        ended = None
        if n.state in ENDED or n.state is State.TERMINATING:
            ended = n.problem or Problem("negotiation_ended", f"negotiation: is {n.state}", "order it again")
        active = n.state is State.ACTIVE
        return NegotiationStanding(str(n.id), n.state.value, active, reach(order, n) if active else None, ended)

    def _own_negotiator(self) -> NegotiatorClient:
        if self._negotiator is None:
            raise Refused(
                "negotiator_missing",
                "negotiator_token: must be set: services that need layer 3 are neither bought nor sold without it",
                hint="negotiator_token in [catalog]",
                field="negotiator_token",
            )
        return self._negotiator


def _offered(order: Order) -> Offer:
    if order.offered is None:
        raise Refused("offer_unknown", f"offer: must be known to the order ('{order.wanted.offer}')", field="offer")
    return order.offered


def _offered_end(order: Order, end: End) -> End:
    """The seller's end has to be one of those that it has offered."""
    offered = order.offered.ends if order.party is Party.SELLER and order.offered is not None else ()
    if offered and OfferEnd(end.exchange, end.port) not in offered:
        raise Refused(
            "end_not_offered",
            f"circuit: must end where the service is offered ('{end.exchange} {end.port}')",
            hint="compare the ends of the offer",
            field="circuit",
        )
    return end


def _circuit(order: Order) -> str:
    return str(order.circuit.id)


def _key(order: Order) -> str:
    return f"{KEY}{order.id}"
