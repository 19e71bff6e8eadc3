"""Which address a machine is reached at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from meetme.lab.agreements import AgreementResolver, alias_in

AGREEMENT = {
    "initiator": {"member": "csp-a", "prefixes": [{"real": "10.0.0.0/24", "alias": "100.64.0.0/24"}]},
    "responder": {
        "member": "csp-b",
        "prefixes": [
            {"real": "10.0.0.0/24", "alias": "100.64.1.0/24"},
            {"real": "2001:db8:2::/48", "alias": "2001:db8:2::/48"},
        ],
    },
}
ROWS = [
    {"machine": machine, "interface": f"eth{number}", "domain": domain}
    for machine, domains in {"vm1": "A", "router1": "ABD", "router2": "CBD", "vm2": "C", "alone": ""}.items()
    for number, domain in enumerate(domains or [""])
]


@pytest.mark.parametrize(
    ("viewer", "real", "alias"),
    [
        ("initiator", "10.0.0.2", "100.64.1.2"),
        ("initiator", "2001:db8:2::7", "2001:db8:2::7"),
        ("responder", "10.0.0.2", "100.64.0.2"),
        ("responder", "2001:db8:2::7", None),
        ("initiator", "10.0.1.2", None),
    ],
)
def test_an_alias_keeps_the_host_part(viewer: str, real: str, alias: str | None) -> None:
    assert alias_in(AGREEMENT, viewer, real) == alias


class Members:
    """Two routers with a negotiator each; machines have the addresses of the thesis."""

    def __init__(self, router1: list[dict[str, Any]], router2: list[dict[str, Any]]) -> None:
        self.negotiations = {"router1": router1, "router2": router2}

    def ask(self, machine: str, order: str, **arguments: object) -> Mapping[str, Any]:
        if order == "addresses":
            local = "10.0.0.1" if machine.startswith("router") else "10.0.0.2"
            return {
                "links": [{"addr_info": [{"local": "127.0.0.1", "scope": "host"}, {"local": local, "scope": "global"}]}]
            }
        found = self.negotiations.get(machine)
        return {"status": 200, "body": found} if found is not None else {"status": 0, "body": None}


def held(role: str, **facts: object) -> dict[str, Any]:
    return {"id": "n1", "role": role, "state": "active", "agreement": AGREEMENT, **facts}


def resolver(router1: list[dict[str, Any]], router2: list[dict[str, Any]]) -> AgreementResolver:
    machines = ("vm1", "router1", "router2", "vm2", "alone")
    return AgreementResolver(ROWS, machines, Members(router1, router2).ask)


def test_machines_belong_to_the_nearest_negotiator() -> None:
    found = resolver([held("initiator")], [held("responder")])
    assert found.resolve("vm1", "vm2") == ["100.64.1.2"]
    assert found.resolve("vm2", "vm1") == ["100.64.0.2"]
    assert found.resolve("vm1", "router2") == ["100.64.1.1"]
    assert found.resolve("router2", "vm1") == ["100.64.0.2"]


def test_what_only_one_side_holds_active_joins_nobody() -> None:
    assert not resolver([held("initiator")], []).resolve("vm1", "vm2")
    assert not resolver([held("initiator")], [held("responder", state="terminated")]).resolve("vm1", "vm2")
    assert not resolver([held("initiator")], [held("responder", id="n2")]).resolve("vm1", "vm2")


def test_a_machine_without_a_way_to_a_negotiator_reaches_nobody() -> None:
    assert not resolver([held("initiator")], [held("responder")]).resolve("alone", "vm2")
