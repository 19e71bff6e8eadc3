"""A negotiator's side of the thesis's three actions (sections 7.2.2 and 7.3): what they can express, and no more.

A numbered link, IPv4, one prefix a side; nothing translated, or both sides' identical prefixes behind one shared alias.
The NAT recipe marks all traffic that does not come from its link, so a translated link suffers no other one beside it.
Nothing can be taken back: `remove` says which commands would.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc.aio

from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.configurator.v1 import configurator_pb2_grpc as rpc
from meetme.drivers.actions import Nat
from meetme.drivers.linux.actions import Step, address_step, nat_steps, route_step
from meetme.model.errors import DeviceFailed, Unsupported
from meetme.model.intent import (
    Capabilities,
    LinkAddresses,
    LinkEvent,
    LinkIntent,
    Mapping,
    Observation,
    ProbeReport,
    ProbeRequest,
    Removal,
)
from meetme.runtime.grpc import CALL_SECONDS, call

PART = "configurator"
TABLE = MARK = 100
"""Of the one translated link. The negotiator owns both, for the three actions only."""

ALREADY = re.compile(r"file exists|already (exists|there|present|configured|assigned)", re.IGNORECASE)
"""How a configurator says that what was asked for is there: as good as done."""

CAPABILITIES = Capabilities(
    driver="three-actions",
    unnumbered=False,
    translate=False,
    translate_identical_only=True,
    ipv6=False,
    vlan=False,
    confirm_timer=False,
    probe=False,
    removes=False,
    max_prefixes=1,
)

Request = pb.IPAssignment | pb.Route | pb.NatConfiguration


@dataclass(frozen=True, slots=True)
class Action:
    """One call, and what it comes to on Linux."""

    request: Request
    steps: tuple[Step, ...]


def actions_for(intent: LinkIntent, *, table: int = TABLE, mark: int = MARK) -> tuple[Action, ...]:
    """The calls that bring `intent` into force, in their order. Pure.

    Raises Unsupported with the code of the first thing that they cannot express: `link_unnumbered_unsupported`,
    `vlan_unsupported`, `prefixes_unsupported`, `ipv6_unsupported`, `translation_unsupported`.
    """
    link, local, remote = _expressible(intent)
    address = Action(
        pb.IPAssignment(ip=str(link.local), interface=intent.port), (address_step(link.local, intent.port),)
    )
    next_hop = link.peer.ip
    if not local.translated and not remote.translated:
        route = pb.Route(destinationNetwork=str(remote.inside), nextHop=str(next_hop))
        return address, Action(route, (route_step(remote.inside, next_hop),))
    if not (local.inside == remote.wire and local.wire == remote.inside):
        raise _unsupported(
            "translation_unsupported",
            "remote",
            f"{local.inside} as {local.wire}, {remote.wire} as {remote.inside}",
            rule="must be identical prefixes behind one shared alias",
        )
    nat = Nat(alias=local.wire, real=local.inside, port=intent.port, table=table, mark=mark, next_hop=next_hop)
    message = pb.NatConfiguration(
        localNetwork=str(nat.alias),
        remoteNetwork=str(nat.real),
        localInterface=nat.port,
        tableNumber=str(nat.table),
        packetMark=str(nat.mark),
        nextHop=str(nat.next_hop),
    )
    return address, Action(message, nat_steps(nat))


def _expressible(intent: LinkIntent) -> tuple[LinkAddresses, Mapping, Mapping]:
    if intent.link is None:
        raise _unsupported("link_unnumbered_unsupported", "link", "unnumbered", rule="must be numbered")
    if intent.vlan is not None:
        raise _unsupported("vlan_unsupported", "vlan", str(intent.vlan), rule="must be the whole port")
    for side, mappings in (("local", intent.local), ("remote", intent.remote)):
        if len(mappings) != 1:
            raise _unsupported("prefixes_unsupported", side, str(len(mappings)), rule="must be one prefix a side")
    local, remote = intent.local[0], intent.remote[0]
    if {intent.link.local.version, intent.link.peer.version, local.inside.version, remote.inside.version} != {4}:
        raise _unsupported("ipv6_unsupported", "local", f"{local.inside} to {remote.inside}", rule="must be IPv4")
    return intent.link, local, remote


def _unsupported(code: str, field: str, seen: str, *, rule: str) -> Unsupported:
    return Unsupported(
        code,
        f"intent.{field}: {rule} with a configurator that has the three actions alone ({seen})",
        field=f"intent.{field}",
        hint="negotiate within that, or run a configurator that offers LinkConfigurator",
    )


@dataclass(slots=True)
class _Done:
    """What was asked of the device for one agreement."""

    intent: LinkIntent
    tried: list[Action]
    """Calls that may have left something, the last one perhaps half done."""
    made: list[Action]
    """Calls that succeeded, not to be repeated."""
    active: bool = True
    """Nobody has removed it yet."""


class ThreeActionClient:
    """A configurator with the three actions alone. Remembers, while it lives, what it did for which agreement."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        target: str,
        *,
        seconds: float = CALL_SECONDS,
        table: int = TABLE,
        mark: int = MARK,
    ) -> None:
        self._channel = channel
        self._stub = rpc.ConfiguratorStub(channel)
        self._target = target
        self._seconds = seconds
        self._table = table
        self._mark = mark
        self._done: dict[UUID, _Done] = {}

    async def apply(
        self, intent: LinkIntent, *, confirm_seconds: float | None = None, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Make the calls that were not made before. There is no confirm timer: `confirm_seconds` has no effect.

        Raises Unsupported (`actions_for`, `one_translated_link`, `change_unsupported`), DeviceFailed `action_failed`.
        """
        wanted = actions_for(intent, table=self._table, mark=self._mark)
        done = self._done.get(intent.agreement)
        self._check_company(intent, wanted, done)
        made = done.made if done else []
        missing = [action for action in wanted if action not in made]
        if not dry_run:
            done = self._done.setdefault(intent.agreement, _Done(intent, tried=[], made=[]))
            done.active = True
            for action in missing:
                if action not in done.tried:
                    done.tried.append(action)
                await self._perform(action)
                done.made.append(action)
        return tuple(" ".join(step.add) for action in missing for step in action.steps)

    def _check_company(self, intent: LinkIntent, wanted: tuple[Action, ...], done: _Done | None) -> None:
        if done is not None and any(action not in wanted for action in done.tried):
            raise _unsupported("change_unsupported", "revision", str(intent.revision), rule="must not change a link")
        others = [each for key, each in self._done.items() if key != intent.agreement and each.active]
        if any(_translated(each.intent) for each in others) or (others and _translated(intent)):
            circuits = ", ".join(f'"{each.intent.circuit}"' for each in others)
            raise _unsupported(
                "one_translated_link", "remote", circuits, rule="must be the only link where one is translated"
            )

    async def _perform(self, action: Action) -> None:
        request = action.request
        method: Callable[..., Awaitable[Any]]
        if isinstance(request, pb.IPAssignment):
            method = self._stub.AddIPToInterface
        elif isinstance(request, pb.Route):
            method = self._stub.AddRoute
        else:
            method = self._stub.ConfigureNat
        name = {pb.IPAssignment: "AddIPToInterface", pb.Route: "AddRoute", pb.NatConfiguration: "ConfigureNat"}
        result: pb.Result = await call(method, request, part=PART, target=self._target, seconds=self._seconds)
        if not result.success and not ALREADY.search(result.message):
            raise DeviceFailed(
                "action_failed",
                f"configurator: {name[type(request)]} failed ({result.message or 'no message'})",
                hint="its log may say more; what it did before that stays until somebody takes it back",
            )

    async def confirm(self, circuit: str, agreement: UUID, generation: int) -> None:
        """Nothing to do: without a timer everything is in force for good."""

    async def remove(
        self, circuit: str, agreement: UUID, generation: int, *, intent: LinkIntent | None = None
    ) -> Removal:
        """Say which commands would take the agreement back, the last one first.

        After a restart only `intent` knows what was asked for; then it is all of it, whether or not it was done.
        """
        done = self._done.get(agreement)
        actions: tuple[Action, ...] = ()
        if done is not None:
            done.active = False
            actions = tuple(done.tried)
        elif intent is not None:
            actions = actions_for(intent, table=self._table, mark=self._mark)
        steps = [step for action in actions for step in action.steps]
        return Removal(tuple(" ".join(step.undo) for step in reversed(steps)))

    async def observe(self) -> Observation:
        """Raises Unsupported `observe_unsupported`: the three actions only add."""
        raise _unsupported("observe_unsupported", "circuit", "Observe", rule="cannot be observed")

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """Raises Unsupported `probe_unsupported`: proof has to come from elsewhere."""
        raise _unsupported("probe_unsupported", "probe", str(request.target), rule="cannot be probed")

    async def capabilities(self) -> Capabilities:
        """What the three actions can express."""
        return CAPABILITIES

    async def watch(self) -> AsyncIterator[LinkEvent]:
        """Raises Unsupported `watch_unsupported`."""
        raise _unsupported("watch_unsupported", "circuit", "Watch", rule="cannot be watched")
        yield  # what makes this an iterator, like every other `watch`

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()


def _translated(intent: LinkIntent) -> bool:
    return any(mapping.translated for mapping in (*intent.local, *intent.remote))
