"""Two members in one process, over real sockets with mutual TLS; their routers are fakes that share a wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

from meetme.model.errors import MeetMeError, NotFound, Stale
from meetme.model.intent import (
    AppliedLink,
    Capabilities,
    LinkEvent,
    LinkEventKind,
    LinkIntent,
    LinkState,
    Observation,
    Port,
    ProbeReport,
    ProbeRequest,
    Removal,
    RouteFact,
)
from meetme.model.members import Member, MemberKind, MemberPolicy, Roster, ServiceUrls
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.host_probe import HostProbe
from meetme.negotiator.service import NegotiatorService
from meetme.negotiator.settings import Configurator, NegotiatorSettings
from meetme.negotiator.states import ENDED, State
from meetme.negotiator.views import NegotiationView
from meetme.runtime.clock import Clock, SystemClock
from meetme.runtime.database import Database
from meetme.runtime.identity import create_identity
from meetme.runtime.tokens import Scope, Tokens

TOKEN = "a token for tests"
COMPOSERS_TOKEN = "of-a-composer"
"""As a file has it: one word."""
CAN = Capabilities("fake", True, True, False, True, True, True, True, True)


@dataclass
class FakeRouter:
    """A router that does what it is told. `wire` is where it meets the other ones: probes cross if both are there."""

    wire: list[FakeRouter]
    ports: tuple[Port, ...] = (
        Port("eth0", True, 1500, None, (ip_interface("10.0.0.1/24"),)),
        Port("eth1", True, 1500, None),
        Port("eth2", True, 1500, None),
    )
    capabilities_: Capabilities = CAN
    links: dict[str, AppliedLink] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    carries: int = 65535
    """Octets: the circuit loses larger packets. 0: it loses every one."""
    loses: frozenset[int] = frozenset()
    """Families whose packets the circuit loses."""
    fail: Callable[[str], Any] = lambda _verb: None
    """Asked before each call: may raise, or give something to wait for."""

    def __post_init__(self) -> None:
        self.wire.append(self)

    async def _called(self, verb: str) -> None:
        self.calls.append(verb)
        waiting = self.fail(verb)
        if waiting is not None:
            await waiting

    def _fence(self, circuit: str, generation: int) -> None:
        if generation < self.seen.get(circuit, 0):
            raise Stale("stale_generation", "generation: is older than one seen")
        self.seen[circuit] = generation

    async def apply(
        self, intent: LinkIntent, *, confirm_seconds: float | None = None, dry_run: bool = False
    ) -> tuple[str, ...]:
        await self._called("plan" if dry_run else "apply")
        commands = tuple(f"ip route add {mapping.inside}" for mapping in intent.remote)
        if not dry_run:
            self._fence(intent.circuit, intent.generation)
            state = LinkState.TENTATIVE if confirm_seconds else LinkState.CONFIRMED
            self.links[intent.circuit] = AppliedLink(intent, state, True)
        return commands

    async def confirm(self, circuit: str, agreement: UUID, generation: int) -> None:
        await self._called("confirm")
        link = self.links.get(circuit)
        if link is None or link.intent.agreement != agreement:
            raise NotFound("link_unknown", "circuit: nothing to confirm")
        self._fence(circuit, generation)
        self.links[circuit] = replace(link, state=LinkState.CONFIRMED)

    async def remove(
        self, circuit: str, agreement: UUID, generation: int, *, intent: LinkIntent | None = None
    ) -> Removal:
        await self._called("remove")
        self._fence(circuit, generation)
        self.links.pop(circuit, None)
        return Removal()

    async def observe(self) -> Observation:
        await self._called("observe")
        return Observation(self.ports, (RouteFact(ip_network("0.0.0.0/0"), "eth0"),), tuple(self.links.values()))

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        await self._called("probe")
        end = asyncio.get_running_loop().time() + request.within
        while not (crossing := self._crossing(request)) or max(request.sizes) not in crossing:
            if asyncio.get_running_loop().time() > end:
                lost = len(request.sizes) - len(crossing)
                return ProbeReport(crossing, lost, len(request.sizes), 0.2 if crossing else None)
            await asyncio.sleep(0.002)
        return ProbeReport(request.sizes, 0, len(request.sizes), 0.2)

    def _crossing(self, request: ProbeRequest) -> tuple[int, ...]:
        if not any(other is not self and request.circuit in other.links for other in self.wire):
            return ()
        if request.target.version in self.loses:
            return ()
        return tuple(size for size in request.sizes if size <= self.carries)

    async def capabilities(self) -> Capabilities:
        await self._called("capabilities")
        return self.capabilities_

    async def watch(self) -> AsyncIterator[LinkEvent]:
        await asyncio.Event().wait()
        yield LinkEvent("", None, LinkEventKind.STATE, "", True)

    async def close(self) -> None:
        pass


@dataclass
class Side:
    """One member: its service, how to ask it, and its router."""

    name: str
    settings: NegotiatorSettings
    database: Database
    router: FakeRouter
    make: Callable[[], NegotiatorService]
    service: NegotiatorService
    client: NegotiatorClient
    sockets: dict[str, str] = field(default_factory=dict)

    async def until(self, id: UUID, *states: State, seconds: float = 15.0) -> NegotiationView:
        """Wait until the negotiation is in one of `states` (or has ended)."""
        async with asyncio.timeout(seconds), aclosing(self.client.follow(id)) as views:
            async for view in views:
                if view.state in states or (not states and view.state in ENDED):
                    return view
        return await self.client.negotiation(id)

    def contents(self, *but: str) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, apart from the tables named."""
        from sqlalchemy import inspect, text

        def read(tx):
            tables = [t for t in inspect(tx).get_table_names() if not t.endswith("_version") and t not in but]
            return {t: sorted(map(repr, tx.execute(text(f"SELECT * FROM {t}")))) for t in tables}

        return self.database.run_now(read)

    async def restart(self, *, crash: bool = True) -> None:
        """End the service (by default as `kill -9` would: nothing is finished, nobody is told), start it anew."""
        if crash:
            await self.service.hang_up(grace=0.0)
            await self.service.kill()
        await self.service.close()
        self.service = self.make()
        await self.service.start(local=self.sockets["local"], peers=self.sockets["peers"])


def settings(**changes: Any) -> NegotiatorSettings:
    values: dict[str, Any] = {
        "border_router_port": "eth1",
        "local_subnet": (ip_network("10.0.0.0/24"),),
        "private_networks": (ip_network("172.16.0.0/12"),),
        "negotiated_networks": (ip_network("169.254.100.0/24"),),
        "configurator": (Configurator("r1", "127.0.0.1:1"),),
        "listen": "127.0.0.1:0",
    }
    return NegotiatorSettings(**{**values, **changes})


@asynccontextmanager
async def pair(
    tmp_path: Path | None = None,
    *,
    real: bool = False,
    urls: dict[str, str] | None = None,
    hosts: dict[str, HostProbe] | None = None,
    clock: Clock | None = None,
    policies: dict[str, MemberPolicy] | None = None,
    behind_nat: str = "",
    **changes: dict[str, Any],
) -> AsyncIterator[tuple[Side, Side]]:
    """csp-a and csp-b, which know each other. `changes` by letter: settings that differ.

    `real`: with the configurators that the settings name, not with fakes. `urls` by letter: databases to use.
    `hosts` by letter: how the negotiators' own hosts ask for an answer; without it nothing is ever asked from them.
    `policies` by letter: what the other side lets this one do; what is changed in it holds at once.
    `behind_nat`: letters of those that nobody can reach.
    """
    names = {"a": "csp-a", "b": "csp-b"}
    identities = {letter: create_identity(name) for letter, name in names.items()}
    roster = Roster()
    wire: list[FakeRouter] = []
    sides: dict[str, Side] = {}
    present = policies if policies is not None else {}

    def known() -> Roster:
        nonlocal roster
        allowed = {names[letter]: policy for letter, policy in present.items()}
        if any(member.policy != allowed.get(member.id, MemberPolicy()) for member in roster.members):
            changed = (replace(m, policy=allowed.get(m.id, MemberPolicy())) for m in roster.members)
            roster = Roster(tuple(changed))
        return roster

    try:
        for letter, name in names.items():
            own = settings(**changes.get(letter, {}))
            url = f"sqlite:///{tmp_path / letter}.db" if tmp_path else "sqlite://"
            url = urls[letter] if urls else url
            database = Database.open(url)
            router = FakeRouter(wire)

            host = (hosts or {}).get(letter)

            def make(letter=letter, own=own, database=database, router=router, host=host) -> NegotiatorService:
                async def opener() -> FakeRouter:
                    return router

                return NegotiatorService(
                    own,
                    identity=identities[letter],
                    roster=known,
                    tokens=Tokens.of({TOKEN: Scope.WRITE, COMPOSERS_TOKEN: Scope.WRITE}),
                    database=database,
                    clock=clock or SystemClock(),
                    openers=None if real else {"r1": opener},
                    host=host,
                )

            service = make()
            await service.start(peers="127.0.0.1:0")
            client = NegotiatorClient(service.local_url, TOKEN)
            sides[letter] = Side(name, own, database, router, make, service, client)
            sides[letter].sockets = {
                "local": service.local_url.partition("://")[2],
                "peers": (service.peers_url or "").partition("://")[2],
            }
        members = [
            Member(
                sides[letter].service._trust.identity.member,
                MemberKind.CSP,
                (identities[letter].pin,),
                (identities[letter].certificate,),
                urls=ServiceUrls(negotiator=None if letter in behind_nat else sides[letter].service.peers_url),
            )
            for letter in names
        ]
        roster = Roster(tuple(members))
        yield sides["a"], sides["b"]
    finally:
        for side in sides.values():
            await side.client.close()
            await side.service.close()
            await side.database.close()


def refusing(error: MeetMeError, *verbs: str) -> Callable[[str], None]:
    """For `FakeRouter.fail`: raise `error` for each call of `verbs`."""

    def fail(verb: str) -> None:
        if verb in verbs:
            raise error

    return fail
