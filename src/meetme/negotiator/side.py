"""This side of every negotiation: whose it is, what its routers have, whom it trusts, how it signs."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import structlog
from sqlalchemy import Connection

from meetme.model.addresses import Address
from meetme.model.agreement import Agreement, MemberId
from meetme.model.errors import Conflict, Fault, InvalidInput, Problem, Unreachable
from meetme.model.members import MemberPolicy
from meetme.negotiator import store, wire
from meetme.negotiator.addressing import Own
from meetme.negotiator.facts import RouterView, control_plane, host_of, own_facts, prefixes_of
from meetme.negotiator.negotiation import Attachment, Negotiation, Wish
from meetme.negotiator.roll import Roll
from meetme.negotiator.routers import Routers
from meetme.negotiator.settings import NegotiatorSettings
from meetme.negotiator.views import Terms
from meetme.runtime.documents import countersign, sign_document, verify_document
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.peer_figures import PeerFigures, Way
from meetme.runtime.tls import Trust

HANDLE_PATH = "/api/v1/handle_negotiation"
COMPARE_PATH = "/api/v1/compare_agreements"


class Side:
    """Answers the rules' questions about this member, and signs in its name."""

    def __init__(self, settings: NegotiatorSettings, trust: Trust, routers: Routers) -> None:
        self.settings = settings
        self.trust = trust
        self.me: MemberId = trust.identity.member
        self._routers = routers
        self._resolved: dict[str, tuple[Address, ...]] = {}

    # --- facts --------------------------------------------------------------------------------------------------------

    def own(self, tx: Connection, n: Negotiation) -> Own:
        """The own half of the facts for a negotiation that exists, or for a change of one."""
        return self.facts(tx, n.peer, n.attachment, self._terms(tx, n), n)

    def wished(self, tx: Connection, n: Negotiation, wish: Wish) -> Own:
        """The own half of the facts for a change of `n` that begins now. Raises what `admitted` raises."""
        changed = replace(n, wish=wish, base=n.agreement)
        return self.admitted(tx, n.peer, n.attachment, self._terms(tx, changed), n)

    def _terms(self, tx: Connection, n: Negotiation) -> Terms:
        """What the request said when it began; of a change, what is agreed and what is wished by now."""
        terms, wish = store.terms(tx, n.id), n.wish
        if n.base is None:
            return terms
        agreed = tuple(entry.real for entry in n.base.side(n.role).prefixes)
        return replace(
            terms,
            local_subnets=agreed if wish.local_subnets is None else wish.local_subnets,
            private_networks=terms.private_networks if wish.private_networks is None else wish.private_networks,
            mtu=terms.mtu if wish.mtu is None else wish.mtu,
        )

    def facts(
        self, tx: Connection, peer: MemberId, attachment: Attachment, terms: Terms, n: Negotiation | None = None
    ) -> Own:
        """The own half of the facts for an agreement with `peer`, without what `n` itself claims.

        Raises Unreachable `router_unseen`, NotFound `peer_unknown`.
        """
        strays = [stray for router in self._routers for stray in router.strays]
        unknown = prefixes_of([stray for stray in strays if n is None or stray.agreement != n.id])
        claimed = (*store.claimed_prefixes(tx, n.id if n else None), *unknown)
        view = self.view(attachment)
        control = control_plane(self._control_urls(), self._resolved)
        own = own_facts(
            self.me,
            self.settings,
            terms,
            attachment,
            view,
            claimed=claimed,
            control=control,
            count_summaries=self.policy(peer).count_summaries,
        )
        if view.capabilities.translate_identical_only and store.at_router(tx, attachment.router, n.id if n else None):
            # The recipe of the three actions marks every packet that does not come from its link: one agreement alone.
            return replace(own, can=replace(own.can, single_identical=own.can.single))
        return own

    def admitted(
        self, tx: Connection, peer: MemberId, attachment: Attachment, terms: Terms, n: Negotiation | None = None
    ) -> Own:
        """The same, for an offer that is made or taken now.

        Raises Conflict `local_subnet_in_use`, `router_translates_one_link` as well.
        """
        own = self.facts(tx, peer, attachment, terms, n)
        taken = store.announced_in_vain(tx, own.prefixes, n.id if n else None)
        if taken is not None:
            raise taken
        self._check_recipe(tx, attachment, n)
        return own

    def _check_recipe(self, tx: Connection, attachment: Attachment, n: Negotiation | None) -> None:
        """A router with the three actions alone that translates for one agreement carries nothing beside it."""
        if not self.view(attachment).capabilities.translate_identical_only:
            return
        for id in store.at_router(tx, attachment.router, n.id if n else None):
            other = store.load(tx, id)
            if other is None or other.agreement is None:
                continue
            entries = (*other.agreement.initiator.prefixes, *other.agreement.responder.prefixes)
            if any(entry.translator is other.role for entry in entries):
                raise Conflict(
                    "router_translates_one_link",
                    f"port: router {attachment.router} translates for negotiation {id} and carries nothing beside it",
                    hint="terminate that one first, or use a configurator with LinkConfigurator",
                    field="port",
                    existing=str(id),
                )

    def view(self, attachment: Attachment) -> RouterView:
        """What the router of a port was last seen to have. Raises Unreachable `router_unseen`, NotFound."""
        view = self._routers.get(attachment.router).view
        if view is None:
            raise Unreachable(
                "router_unseen",
                f"configurator: must be reached before anything is agreed ({attachment.router})",
                hint="start its configurator",
                fault=Fault.DEVICE,
            )
        return view

    def _control_urls(self) -> Iterator[str | None]:
        yield from (member.urls.negotiator for member in self.trust.roster.members)
        yield from (configurator.target for configurator in self.settings.configurator)
        yield self.settings.database

    async def resolve(self) -> None:
        """Find the addresses of the control plane's hosts. One that has none now keeps those it had."""
        hosts = {host_of(url) for url in self._control_urls() if url} - {""}
        for host in hosts - self._resolved.keys():
            found = await asyncio.to_thread(_addresses, host)
            if found:
                self._resolved[host] = found

    def policy(self, peer: MemberId) -> MemberPolicy:
        """What this peer may do. Raises NotFound `peer_unknown`."""
        return self.trust.roster.member(peer).policy

    # --- signatures ---------------------------------------------------------------------------------------------------

    def sign(self, payload: bytes) -> str:
        """A new document with the own signature."""
        return json.dumps(sign_document(payload, self.trust.identity))

    def countersign(self, document: str) -> str:
        """The same document with the own signature added."""
        return json.dumps(countersign(json.loads(document), self.trust.identity))

    def verify(self, document: str, agreement: Agreement, signers: frozenset[str]) -> None:
        """Raise InvalidInput unless `document` says exactly `agreement` and carries the signatures of `signers`."""
        certificates: dict[str, Any] = {m.id: m.certificates for m in self.trust.roster.members}
        certificates[self.me] = (self.trust.identity.certificate,)
        verified = verify_document(json.loads(document), certificates)
        if wire.read_agreement(verified.payload) != agreement:
            raise InvalidInput(
                "agreement_differs",
                "agreement: must be what was signed",
                field="agreement",
                hint="the other negotiator broke the protocol; report it to its operator",
                fault=Fault.REMOTE,
            )
        missing = signers - verified.signers
        if missing:
            raise InvalidInput(
                "signature_invalid",
                f"agreement: must carry a good signature of {' and of '.join(sorted(missing))}",
                field="agreement",
                hint="compare the fingerprints of both members (meetme identity show, meetme peer list)",
                fault=Fault.REMOTE,
            )


def _addresses(host: str) -> tuple[Address, ...]:
    try:
        return (ip_address(host),)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


class Line:
    """The way to the other negotiators: HTTP with mutual TLS."""

    def __init__(self, client: PeerClient, figures: PeerFigures | None = None) -> None:
        self._client = client
        self._figures = figures or PeerFigures()

    async def send(self, peer: MemberId, message: wire.Message) -> object | None:
        """POST the message. Raises what `PeerClient.post` raises."""
        with self._figures.exchange(Way.SENT, message.type, peer) as exchange:
            answer = await self._client.post(peer, "negotiator", HANDLE_PATH, wire.message_json(message))
            exchange.pending = answer.status == 202
        structlog.get_logger().info("message sent", type=message.type, message=str(message.message), peer=peer)
        return None if exchange.pending else answer.document

    async def compare(self, peer: MemberId, roll: Roll) -> object | None:
        """POST the roll. Raises what `PeerClient.post` raises."""
        with self._figures.exchange(Way.SENT, "roll", peer):
            answer: object | None = (
                await self._client.post(peer, "negotiator", COMPARE_PATH, wire.roll_json(roll))
            ).document
        return answer


INWARD = {
    "port_": ("circuit: its port is not ready at this side", "circuit"),
    "router_": ("circuit: its port is not ready at this side", "circuit"),
    "local_subnet_in_use": ("prefixes: this side cannot announce its own at present", "prefixes"),
}
"""Codes of problems whose texts name routers, ports, prefixes and negotiations of ours; what a peer reads instead."""


def refused(problem: Problem) -> Problem:
    """A problem of ours as the peer is told it: what is local here is remote there."""
    fault = Fault.REMOTE if problem.fault is not Fault.REMOTE else Fault.LOCAL
    for beginning, (text, field) in INWARD.items():
        if problem.code.startswith(beginning):
            return Problem(problem.code, text, "ask its operator", field, fault)
    return Problem(problem.code, problem.text, problem.hint, problem.field, fault)
