"""What policy forbids a peer, over real sockets: refused by name at both sides, and nothing is left."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from sqlalchemy import text

from meetme.model.errors import Refused
from meetme.model.members import MemberPolicy
from meetme.negotiator.events import CompareDue
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .pair import Side, pair

ELSEWHERE = (ip_network("10.8.0.0/16"),)


async def refused(a: Side, b: Side, code: str, **request) -> None:
    started = await a.client.start(StartRequest("csp-b", **request))
    ended = await a.until(started.id)
    assert ended.problem is not None
    assert (ended.state in (State.REFUSED, State.FAILED), ended.problem.code) == (True, code)
    if b.contents()["negotiator_claim"]:
        await b.until(started.id)
    assert not a.contents()["negotiator_claim"]
    assert not b.contents()["negotiator_claim"]
    assert not a.router.links
    assert not b.router.links


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (MemberPolicy(announce=ELSEWHERE), "policy_prefix"),
        (MemberPolicy(order_required=True), "policy_order"),
        (MemberPolicy(max_agreements=0), "policy_max_agreements"),
        (MemberPolicy(proposals_per_minute=0), "policy_rate"),
    ],
)
async def test_the_responder_refuses_by_name(policy: MemberPolicy, code: str) -> None:
    async with pair(policies={"a": policy}) as (a, b):
        await refused(a, b, code)


async def test_the_initiator_refuses_what_the_answer_would_bring() -> None:
    async with pair(policies={"b": MemberPolicy(announce=ELSEWHERE)}) as (a, b):
        await refused(a, b, "policy_prefix")


async def test_an_order_opens_what_requires_one() -> None:
    async with pair(policies={"a": MemberPolicy(order_required=True)}) as (a, _b):
        started = await a.client.start(StartRequest("csp-b", order="order-7"))
        assert (await a.until(started.id, State.ACTIVE)).state is State.ACTIVE


async def test_whoever_asks_too_often_waits_and_costs_no_write() -> None:
    async with pair(policies={"a": MemberPolicy(proposals_per_minute=2)}) as (a, b):
        for _ in range(2):
            await a.client.plan(StartRequest("csp-b"))
        before = b.contents()
        for _ in range(3):
            with pytest.raises(Refused) as error:
                await a.client.plan(StartRequest("csp-b"))
            assert error.value.code == "policy_rate"
            assert "try again in" in error.value.problem.hint
        await refused(a, b, "policy_rate")
        assert b.contents() == before


async def test_further_rounds_do_not_count() -> None:
    async with pair(policies={"a": MemberPolicy(proposals_per_minute=1)}) as (a, _b):
        started = await a.client.start(StartRequest("csp-b"))
        done = await a.until(started.id, State.ACTIVE)
        assert done.state is State.ACTIVE, "it took two rounds, and began one negotiation"


@pytest.mark.parametrize("counts", [False, True])
async def test_a_default_route_of_ours_counts_if_policy_says_so(counts: bool) -> None:
    elsewhere = {"local_subnet": (ip_network("10.9.0.0/24"),)}
    async with pair(b=elsewhere, policies={"b": MemberPolicy(count_summaries=counts)}) as (a, _b):
        started = await a.client.start(StartRequest("csp-b"))
        done = await a.until(started.id, State.ACTIVE)
        assert done.agreement is not None
        (theirs,) = done.agreement.responder.prefixes
        assert (theirs.alias != theirs.real) == counts, "csp-a has a default route"


async def test_what_policy_no_longer_allows_is_not_taken_up_from_a_peer() -> None:
    """The store is lost, the peer offers the agreement that both have signed, and meanwhile its prefix is forbidden."""
    policies: dict[str, MemberPolicy] = {}
    async with pair(policies=policies) as (a, b):
        started = await a.client.start(StartRequest("csp-b"))
        for side in (a, b):
            await side.until(started.id, State.ACTIVE)
        policies["a"] = MemberPolicy(announce=ELSEWHERE)
        assert b.router.links, "agreements in force stay as they are"
        wipe = [text(f"DELETE FROM {table}") for table in (*b.contents(), "runtime_effect")]
        b.database.run_now(lambda tx: [tx.execute(statement) for statement in wipe])
        b.router.links.clear()
        b.router.calls.clear()
        await a.service._loop.deliver(str(started.id), CompareDue(0.0))
        assert (await a.until(started.id, State.TERMINATED)).state is State.TERMINATED
        assert await b.client.negotiations() == []
        assert "apply" not in b.router.calls
