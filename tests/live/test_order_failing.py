"""An order when an exchange does not answer: another way round it, or a clear end, and nothing left of either."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.live.host import Host, eventually
from tests.live.labs import lab_host

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]

LAB = "federation"
EXCHANGES = ("ixa", "ixb", "ixc", "ixd")
OFFER = "csp-c/object-storage"


def order(host: Host, status: int) -> dict[str, Any]:
    """Have csp-a order the service, as a person does; how it stands when the verb ends."""
    script = f"meetme order {OFFER} --format json 2>/dev/null; [ $? = {status} ]"
    told = host.lab("exec", LAB, "router1", "--", "sh", "-c", script, seconds=180)
    found: dict[str, Any] = json.loads(told)
    return found


def freeze(host: Host, exchange: str) -> None:
    """Its composer and its IX-API are there, and say nothing."""
    host.inside(LAB, exchange, "kill -STOP $(cat /run/composer.pid)")


def thaw(host: Host, exchange: str) -> None:
    host.inside(LAB, exchange, "kill -CONT $(cat /run/composer.pid)")


def asked(host: Host, machine: str, what: str) -> Any:
    return json.loads(host.inside(LAB, machine, f"meetme {what} --format json"))


def nothing_left(host: Host) -> None:
    """Of no order, circuit, attachment or agreement, at nobody."""
    assert asked(host, "router1", "orders") == []
    for exchange in EXCHANGES:
        live = [c for c in asked(host, exchange, "circuit list") if c["state"] not in ("released", "failed", "refused")]
        assert live == [], exchange
    for router in ("router1", "router3"):
        assert not [each for each in asked(host, router, "attachment list") if each["peer"] in ("csp-a", "csp-c")]
        assert asked(host, router, "status") == []
    for switch in ("sa1", "sa2", "sb1", "sb2", "sc1", "sc2", "sd1", "sd2"):
        host.lab("exec", LAB, switch, "--", "bash", "-c", ". /hostlab/shared.startup; as_before")


def test_an_order_goes_round_a_dead_exchange_and_ends_at_a_dead_end() -> None:
    with lab_host() as host:
        host.lab("up", LAB, "--timeout", "560", seconds=580)
        eventually(lambda: len(asked(host, "router1", "catalog list")) >= 1, 60)

        freeze(host, "ixb")  # on the best way
        bought = order(host, 0)
        assert (bought["state"], bought["problem"]) == ("active", None)
        host.inside(LAB, "vm1", f"ping -n -q -c2 -W2 {bought['reach']['address']}")
        thaw(host, "ixb")
        host.inside(LAB, "router1", f"meetme order terminate {bought['id']}")
        nothing_left(host)

        freeze(host, "ixc")  # where the service is
        failed = order(host, 4)
        assert (failed["state"], failed["outcome"], failed["problem"]["code"]) == (
            "terminating",
            "failed",
            "peer_timeout",
        )
        assert "ix-c" in failed["problem"]["text"]
        thaw(host, "ixc")
        eventually(lambda: asked(host, "router1", "orders") == [], 60)
        (ended,) = [each for each in asked(host, "router1", "orders --all") if each["id"] == failed["id"]]
        assert (ended["state"], ended["problem"]["code"]) == ("failed", "peer_timeout")
        nothing_left(host)
        host.lab("down", LAB)
