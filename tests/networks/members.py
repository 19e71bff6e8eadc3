"""The sites of a random network negotiate: both sides of every circuit in one process, by the real rules.

Messages wait in one bag; whoever empties it decides the order, one after the other or anyhow. Routers always obey and
packets always cross: what really happens to packets is for the oracle, and for the live worlds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface
from random import Random
from uuid import UUID

from meetme.model.addresses import Prefix
from meetme.model.agreement import MemberId
from meetme.model.errors import Conflict, MeetMeError, Problem
from meetme.model.intent import Capabilities, LinkIntent, Observation, Port, RouteFact
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator.addressing import Own, own_problems
from meetme.negotiator.claims import claims
from meetme.negotiator.effects import Effect, Probe, Program, Send, Verb
from meetme.negotiator.events import Event
from meetme.negotiator.facts import RouterView, own_facts
from meetme.negotiator.intents import link_intent
from meetme.negotiator.messages import (
    ActiveBody,
    Body,
    CommitBody,
    CommittedBody,
    ConfirmBody,
    CounterBody,
    FailedBody,
    HoldBody,
    MessageType,
    ProposeBody,
    RefuseBody,
    TerminateBody,
    TerminatedBody,
    Verified,
)
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.protocol import step, stranger_answer
from meetme.negotiator.reactions import yields
from meetme.negotiator.settings import Configurator, NegotiatorSettings
from meetme.negotiator.states import ENDED, LIVE, State
from meetme.negotiator.views import Terms
from tests.networks.plan import Circuit, Network, Site

AT = 1000.0


def settings(site: Site) -> NegotiatorSettings:
    """The settings of a site's negotiator."""
    return NegotiatorSettings(
        border_router_port="x",
        local_subnet=site.prefixes,
        private_networks=site.private_networks,
        negotiated_networks=site.negotiated_networks,
        configurator=(Configurator("r", "127.0.0.1:1"),),
        in_use=site.in_use,
    )


def seen(site: Site) -> RouterView:
    """What the site's configurator tells of its router."""
    lans = (*site.lans, *site.more)
    ports = [Port(f"lan{i}", True, 9000, None, (ip_interface(lan.port),)) for i, lan in enumerate(lans)]
    routes = [RouteFact(lan.prefix, f"lan{i}", connected=True) for i, lan in enumerate(lans)]
    routes += [RouteFact(prefix, "lan0") for prefix in site.routes]
    can = Capabilities(
        driver="plan",
        unnumbered=site.unnumbered,
        translate=site.single,
        translate_identical_only=False,
        ipv6=site.ipv6,
        vlan=False,
        confirm_timer=True,
        probe=True,
        removes=True,
    )
    return RouterView(can, Observation(tuple(ports), tuple(routes), ()))


@dataclass
class Member:
    """One site's negotiator: what it knows, and what its router carries."""

    site: Site
    known: dict[UUID, Negotiation] = field(default_factory=dict)
    terms: dict[UUID, Terms] = field(default_factory=dict)
    device: dict[str, LinkIntent] = field(default_factory=dict)

    def claimed(self, kinds: tuple[str, ...], but: UUID | None) -> tuple[Prefix, ...]:
        """What other negotiations claim."""
        held = (c for id, n in self.known.items() if id != but for c in claims(n) if c.kind in kinds)
        return tuple(dict.fromkeys(c.prefix for c in held if c.prefix is not None))

    def own(self, circuit: Circuit, terms: Terms, id: UUID | None) -> Own:
        """The own half of the facts, as `Side.facts` finds it."""
        own = own_facts(
            self.site.name,
            settings(self.site),
            terms,
            circuit.attachment(self.site),
            self.router(),
            claimed=self.claimed(("prefix", "local"), id),
            control=self.site.control,
        )
        return replace(own, can=replace(own.can, each_own=self.site.each_own))

    def router(self) -> RouterView:
        """What its configurator tells."""
        return seen(self.site)

    def admitted(self, circuit: Circuit, terms: Terms, id: UUID | None) -> Own:
        """The same, as `Side.admitted`. Raises Conflict `local_subnet_in_use`."""
        own = self.own(circuit, terms, id)
        for prefix in own.prefixes:
            for other in self.claimed(("prefix",), id):
                if prefix.version == other.version and prefix.overlaps(other):
                    raise Conflict("local_subnet_in_use", f"local_subnets: {prefix} is in use ({other})")
        return own

    def rival(self, circuit: str, but: UUID) -> ev.Rival | None:
        """Who has the circuit."""
        for id, n in self.known.items():
            claims_it = any((c.kind, c.value) == ("circuit", circuit) for c in claims(n))
            if id != but and (claims_it or (n.circuit == circuit and n.state in LIVE)):
                return ev.Rival(n.id, n.role, n.state)
        return None

    def check(self) -> None:
        """Nothing is given out twice, whatever the rules think."""
        held = [(id, c.kind, c.prefix) for id, n in self.known.items() for c in claims(n) if c.prefix is not None]
        for index, (one, kind, p) in enumerate(held):
            for other, same, q in held[index + 1 :]:
                if one != other and "prefix" in (kind, same) and p.version == q.version and p.overlaps(q):
                    raise AssertionError(f"{self.site.name} has given {p} to {one} and {q} to {other}")


@dataclass
class Talks:
    """All negotiations of a network."""

    network: Network
    random: Random | None = None
    """How the bag is emptied: anyhow; None: in order."""
    members: dict[MemberId, Member] = field(default_factory=dict)
    bag: list[Callable[[], None]] = field(default_factory=list)
    refused: dict[UUID, Problem] = field(default_factory=dict)
    """What ended without being active, and why."""
    started: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        self.members = {site.name: Member(site) for site in self.network.sites}

    # --- what people do -----------------------------------------------------------------------------------------------

    def begin(self, circuit: Circuit, *, reverse: bool = False) -> UUID | Problem:
        """A person starts a negotiation; its id, or why that is not possible."""
        starter, other = (circuit.other, circuit.starter) if reverse else (circuit.starter, circuit.other)
        me = self.members[starter]
        terms = Terms() if reverse else circuit.terms
        self.started += 1
        id = UUID(int=self.started)
        if me.rival(circuit.name, id) is not None:
            return Problem("negotiation_exists", "circuit: taken")
        try:
            own = me.admitted(circuit, terms, None)
        except MeetMeError as error:
            return error.problem
        if problems := list(own_problems(own)):
            return problems[0]
        me.terms[id] = terms
        event = ev.Start(AT, id, other, circuit.name, None, circuit.attachment(me.site), own, 1)
        self._deliver(me, circuit, id, event)
        return id

    def end(self, id: UUID, by: MemberId) -> None:
        """A person terminates."""
        me = self.members[by]
        self._deliver(me, self._circuit(me.known[id]), id, ev.TerminateAsked(AT))

    def settle(self, most: int = 100_000) -> None:
        """Until nobody has anything to do. Raises AssertionError where that never comes."""
        while self.bag:
            self.steps += 1
            assert self.steps < most, "the talk does not end"
            index = self.random.randrange(len(self.bag)) if self.random else 0
            self.bag.pop(index)()

    def active(self) -> dict[UUID, Circuit]:
        """What both sides have as active, by id. Raises AssertionError where they differ."""
        found: dict[UUID, Circuit] = {}
        for me in self.members.values():
            for id, n in me.known.items():
                assert n.state in ENDED or n.state is State.ACTIVE, (me.site.name, n.state)
                there = self.members[n.peer].known.get(id)
                if n.state is State.ACTIVE:
                    assert there is not None
                    assert there.state is State.ACTIVE
                    assert there.agreement == n.agreement
                    found[id] = self._circuit(n)
        return found

    def _circuit(self, n: Negotiation) -> Circuit:
        return next(circuit for circuit in self.network.circuits if circuit.name == n.circuit)

    # --- what the shells do -------------------------------------------------------------------------------------------

    def _deliver(self, me: Member, circuit: Circuit, id: UUID, event: Event) -> Negotiation:
        outcome = step(me.known.get(id), event)
        n = outcome.negotiation
        me.known[id] = replace(n, answers=())
        me.check()
        if n.state in (State.REFUSED, State.FAILED) and n.problem is not None:
            self.refused.setdefault(id, n.problem)
        for effect in outcome.effects:
            self._perform(me, circuit, id, effect)
        for answer in n.answers:
            self._later(lambda body=answer.body: self._answered(self.members[n.peer], circuit, id, body))  # type: ignore[misc]
        return n

    def _later(self, work: Callable[[], None]) -> None:
        self.bag.append(work)

    def _perform(self, me: Member, circuit: Circuit, id: UUID, effect: Effect) -> None:
        match effect:
            case Send(type=kind, message=message):
                self._later(lambda: self._arrived(me, circuit, id, kind, message))
            case Program(verb=verb):
                self._later(lambda: self._program(me, circuit, id, verb))
            case Probe():
                self._later(lambda: self._tell(me, circuit, id, ev.Probed(AT, Verified.PATH, 1.0)))
            case _:
                pass

    def _tell(self, me: Member, circuit: Circuit, id: UUID, event: Event) -> None:
        self._deliver(me, circuit, id, event)

    def _program(self, me: Member, circuit: Circuit, id: UUID, verb: Verb) -> None:
        n = me.known[id]
        if n.agreement is not None and verb is Verb.APPLY:
            me.device[circuit.name] = link_intent(n.agreement, n.role, n.attachment, generation=1)
        elif verb is Verb.REMOVE:
            me.device.pop(circuit.name, None)
        done = {Verb.APPLY: ev.Applied(AT), Verb.CONFIRM: ev.DeviceConfirmed(AT), Verb.REMOVE: ev.Removed(AT)}[verb]
        self._deliver(me, circuit, id, done)

    def _arrived(self, sender: Member, circuit: Circuit, id: UUID, kind: MessageType, message: UUID) -> None:
        n = sender.known[id]
        you = self.members[n.peer]
        body = _said(n, kind)
        if body is None or n.state in (State.SUPERSEDED, State.REFUSED):
            return
        event: Event | Body
        match body:
            case ProposeBody(offer=offer):
                event = self._proposed(you, circuit, sender, id, message, offer)
            case _ if id not in you.known:
                event = stranger_answer(kind)
            case CommitBody(agreement=agreement):
                event = ev.CommitReceived(AT, message, agreement)
            case ConfirmBody(verified=verified):
                event = ev.ConfirmReceived(AT, message, verified)
            case TerminateBody(reason=reason):
                event = ev.TerminateReceived(AT, message, reason)
            case _:
                raise AssertionError(body)
        if isinstance(event, Event):
            self._deliver(you, circuit, id, event)
        else:
            self._later(lambda: self._answered(sender, circuit, id, event))

    def _proposed(self, you: Member, circuit: Circuit, sender: Member, id: UUID, message: UUID, offer) -> Event | Body:
        rival = you.rival(circuit.name, id)
        if rival is not None and yields(rival, me=you.site.name, peer=sender.site.name):
            self._deliver(you, circuit, rival.id, ev.Superseded(AT, id))
        try:
            own = you.admitted(circuit, Terms(), id)
        except MeetMeError as error:
            return RefuseBody((error.problem,))
        return ev.ProposeReceived(
            at=AT, message=message, id=id, peer=sender.site.name, circuit=circuit.name, order=None,
            attachment=circuit.attachment(you.site), own=own, generation=1, offer=offer, policy=MemberPolicy(),
            rival=rival,
        )  # fmt: skip

    def _answered(self, me: Member, circuit: Circuit, id: UUID, body: Body) -> None:
        n = me.known[id]
        match body:
            case HoldBody(agreement=agreement):
                event: Event = ev.HoldReceived(AT, agreement, me.own(circuit, me.terms[id], id), MemberPolicy())
            case CounterBody(counter=counter):
                event = ev.CounterReceived(AT, counter, me.own(circuit, me.terms[id], id))
            case RefuseBody(problems=problems, superseded_by=other):
                event = ev.RefuseReceived(AT, problems, other)
            case CommittedBody(verified=verified):
                event = ev.CommittedReceived(AT, verified)
            case ActiveBody(verified=verified):
                event = ev.ActiveReceived(AT, verified)
            case FailedBody(problem=problem):
                event = ev.FailedReceived(AT, problem)
            case TerminatedBody():
                event = ev.TerminatedReceived(AT)
            case _:
                raise AssertionError(body)
        self._deliver(me, circuit, n.id, event)


def _said(n: Negotiation, kind: MessageType) -> Body | None:
    match kind:
        case MessageType.PROPOSE:
            return ProposeBody(n.offer) if n.offer else None
        case MessageType.COMMIT:
            return CommitBody(n.agreement) if n.agreement else None
        case MessageType.CONFIRM:
            return ConfirmBody(n.verified)
        case MessageType.TERMINATE:
            return TerminateBody(n.problem)
        case _:
            return None


def one_by_one(network: Network) -> Talks:
    """Every circuit's negotiation from start to end, in the order of the plan."""
    talks = Talks(network)
    for circuit in network.circuits:
        start(talks, circuit)
        talks.settle()
    return talks


def at_once(network: Network, random: Random, circuits: Iterable[Circuit] | None = None) -> Talks:
    """All of them started before any has ended, and then everything in any order."""
    talks = Talks(network, random)
    for circuit in network.circuits if circuits is None else circuits:
        talks.bag.append(lambda circuit=circuit: start(talks, circuit))  # type: ignore[misc]
    talks.settle()
    return talks


def start(talks: Talks, circuit: Circuit) -> None:
    """Start it as the plan says: at one side, or at both. What cannot be started is noted as refused."""
    for reverse in (False, True) if circuit.both else (False,):
        begun = talks.begin(circuit, reverse=reverse)
        if isinstance(begun, Problem):
            talks.refused[UUID(int=talks.started)] = begun
