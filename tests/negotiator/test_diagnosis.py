"""The diagnosis of a member: each thing that can be wrong is found, and says what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from meetme.model.errors import Problem, Unreachable
from meetme.model.intent import LinkState
from meetme.negotiator.diagnosis import Doctor, Finding
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest
from meetme.runtime.clock import ManualClock
from meetme.runtime.identity import create_identity
from meetme.runtime.ledger import Ledger
from meetme.runtime.peer_client import Sighting

from .pair import CAN, Side, pair, refusing


class Peers:
    """What is seen of the peers."""

    def __init__(self, ahead: float | None) -> None:
        self.ahead = ahead

    async def look(self, member: str, service: str) -> Sighting:
        return Sighting(0.01, self.ahead, 0.5)


def doctor(side: Side, **changes) -> Doctor:
    service = side.service
    parts = {
        "peers": service._client,
        "clock": service._clock,
        "runs": service.alive,
    } | changes
    runs = parts.pop("runs")
    return Doctor(side.database, Ledger(), service._routers, service._trust, parts["peers"], parts["clock"], runs=runs)


async def found(side: Side, what: str, **changes) -> Finding:
    seen = {finding.what: finding for finding in (await doctor(side, **changes).look()).findings}
    assert what in seen, list(seen)
    return seen[what]


@pytest.mark.parametrize(
    ("ahead", "ok", "needed", "said"),
    [
        (0.4, True, False, "agrees with ours"),
        (-1.9, True, False, "1.9 s behind ours"),
        (3.5, False, False, "3.5 s ahead of ours"),
        (-60.0, False, True, "60.0 s behind ours"),
    ],
)
async def test_clocks(ahead: float, ok: bool, needed: bool, said: str) -> None:
    async with pair() as (a, _):
        finding = await found(a, "clock of csp-b", peers=Peers(ahead))
        assert (finding.ok, finding.needed, finding.detail) == (ok, needed, said)


async def test_a_certificate_that_expires() -> None:
    async with pair() as (a, _):
        service = a.service
        until = datetime.now(UTC) + timedelta(days=3650)
        soon = ManualClock((until - timedelta(days=10)).timestamp())
        over = ManualClock((until + timedelta(days=10)).timestamp())
        finding = await found(a, "own certificate", clock=soon)
        assert (finding.ok, finding.needed) == (False, False)
        assert "10 days" in finding.detail
        for what in ("own certificate", "certificate of csp-b"):
            finding = await found(a, what, clock=over)
            assert (finding.ok, finding.needed) == (False, True)
        assert create_identity("x") != service._trust.identity


async def test_drift_and_what_a_router_cannot_do() -> None:
    async with pair() as (a, b):
        started = await a.client.start(StartRequest("csp-b"))
        await a.until(started.id, State.ACTIVE)
        await b.until(started.id, State.ACTIVE)
        circuit, link = next(iter(a.router.links.items()))
        assert (await doctor(a).look()).ok
        a.router.links[circuit] = replace(link, in_sync=False, problem=Problem("device_refused", "nft: says no"))
        finding = await found(a, f"link {circuit} on r1")
        assert (finding.ok, finding.needed, finding.detail) == (False, True, "nft: says no")
        assert finding.hint
        lost = dict(a.router.links)
        a.router.links.clear()
        finding = await found(a, f"link {circuit} on r1")
        assert (finding.ok, finding.detail) == (False, "is missing on the device")
        stranger = replace(lost[circuit].intent, agreement=create_uuid(), circuit="other")
        a.router.links["other"] = replace(link, intent=stranger, state=LinkState.CONFIRMED)
        finding = await found(a, "link other on r1")
        assert (finding.ok, finding.needed) == (False, False)
        missing = (Problem("vlan_unsupported", "router: this kernel has no 802.1Q", "modprobe 8021q"),)
        a.service._routers.get("r1")._view = None
        a.router.capabilities_ = replace(CAN, missing=missing)
        finding = await found(a, "router r1 can")
        assert (finding.ok, finding.hint) == (False, "modprobe 8021q")


def create_uuid():
    from uuid import uuid4

    return uuid4()


async def test_what_is_stuck_and_owed_and_stopped() -> None:
    async with pair() as (a, b):
        b.router.fail = refusing(Unreachable("configurator_unreachable", "configurator: away"), "apply")
        started = await a.client.start(StartRequest("csp-b"))
        await a.until(started.id, State.COMMITTED)
        later = ManualClock(a.service._clock.now() + 300)
        finding = await found(a, f"negotiation {started.id}", clock=later)
        assert not finding.ok
        assert "committed since 5 minutes" in finding.detail
        a.database.run_now(lambda tx: tx.execute(text("UPDATE runtime_effect SET attempts = 7, note = 'x: y'")))
        finding = await found(a, f"owed by {started.id}")
        assert (finding.ok, finding.needed) == (False, False)
        assert "7 times in vain" in finding.detail
        assert not (await found(a, "durable loop", runs=lambda: False)).ok
        report = await doctor(a, runs=lambda: False).look()
        assert not report.ok
