"""At which address one machine reaches another: read from the active agreements of the members they belong to.

A machine belongs to the member whose negotiator is nearest to it, counted in collision domains. `alias_in` is the rule,
`AgreementResolver` asks the negotiators, through their local API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Protocol

NEGOTIATIONS = "http://127.0.0.1:8471/api/v1/negotiations"
TOKEN_FILE = "/etc/meetme/token"

Ask = Callable[..., Mapping[str, Any]]
"""Asks the agent in a machine: `ask(machine, order, **arguments)`."""


class Resolver(Protocol):
    """Finds the addresses at which a machine is reached by another."""

    def resolve(self, source: str, to: str, real: str | None = None) -> Sequence[str]:
        """Its addresses, the best first; none where nothing joins the two. `real`: only where that one is reached."""

    def probes(self, source: str, to: str) -> Sequence[str]:
        """What answers probes on the side of `to`, one address a family, real and as `source` reaches it."""


def alias_in(agreement: Mapping[str, Any], viewer: str, real: str) -> str | None:
    """The address by which the side `viewer` ("initiator" or "responder") reaches `real` on the other side."""
    other = "responder" if viewer == "initiator" else "initiator"
    address = ip_address(real)
    for prefix in agreement[other]["prefixes"]:
        network, alias = ip_network(prefix["real"]), ip_network(prefix["alias"])
        if address.version == network.version and address in network:
            return str(alias.network_address + (int(address) - int(network.network_address)))
    return None


class AgreementResolver:
    """Resolves through the negotiators of a lab."""

    def __init__(self, rows: Sequence[Mapping[str, str]], machines: Sequence[str], ask: Ask) -> None:
        self._machines, self._ask = machines, ask
        self._members: dict[str, set[str]] = {}
        for row in rows:
            if row["domain"]:
                self._members.setdefault(row["domain"], set()).add(row["machine"])

    def resolve(self, source: str, to: str, real: str | None = None) -> Sequence[str]:
        """The addresses at which `source` reaches `to` by an agreement that both their members hold active."""
        ours, theirs = self._negotiations(source), self._negotiations(to)
        for identifier, negotiation in ours.items():
            if identifier not in theirs:
                continue
            own = [real] if real is not None else self._addresses(to)
            aliases = [alias_in(negotiation["agreement"], negotiation["role"], address) for address in own]
            if found := [alias for alias in aliases if alias is not None]:
                return found
        return ()

    def probes(self, source: str, to: str) -> Sequence[str]:
        """What answers probes on the side of `to`, as every agreement of both members has it."""
        ours, theirs = self._negotiations(source), self._negotiations(to)
        found: dict[str, None] = {}
        for negotiation in (ours[id] for id in ours if id in theirs):
            agreement, viewer = negotiation["agreement"], negotiation["role"]
            side = agreement["responder" if viewer == "initiator" else "initiator"]
            for probe in (side.get("probe"), side.get("second_probe")):
                if probe is not None:
                    found |= {probe: None, alias_in(agreement, viewer, probe) or probe: None}
        return list(found)

    def _negotiations(self, machine: str) -> dict[str, Mapping[str, Any]]:
        """What the nearest negotiator holds active, by id."""
        for near in self._by_distance(machine):
            answer = self._ask(near, "get", url=NEGOTIATIONS, token_file=TOKEN_FILE)
            if answer["status"] == 200:
                return {each["id"]: each for each in _listed(answer["body"]) if _usable(each)}
        return {}

    def _by_distance(self, machine: str) -> Iterable[str]:
        reached = [machine]
        for near in reached:  # grows while we walk it
            beside = sorted(each for members in self._members.values() if near in members for each in members)
            reached += dict.fromkeys(each for each in beside if each not in reached)
        return reached

    def _addresses(self, machine: str) -> list[str]:
        links = self._ask(machine, "addresses")["links"]
        return [
            address["local"]
            for link in links
            for address in link.get("addr_info", ())
            if address.get("scope") == "global" and "local" in address
        ]


def _listed(body: Any) -> Iterable[Mapping[str, Any]]:
    listed = body.get("negotiations", ()) if isinstance(body, dict) else body
    return [each for each in listed if isinstance(each, dict)]


def _usable(negotiation: Mapping[str, Any]) -> bool:
    return negotiation.get("state") == "active" and isinstance(negotiation.get("agreement"), dict)
