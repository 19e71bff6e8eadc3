"""Two whole negotiators in one process, over HTTP, with routers that live in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network
from uuid import uuid4

import httpx2
import pytest

from meetme.model.agreement import LinkKind, Role, Translation
from meetme.model.errors import (
    Conflict,
    DeviceFailed,
    InvalidInput,
    MeetMeError,
    NotFound,
    Refused,
    Unauthenticated,
    Unreachable,
)
from meetme.model.intent import LinkState, Mapping
from meetme.negotiator import logbook
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.messages import Verified
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .pair import CAN, Side, pair, refusing
from .whole import TRACES, connect, settled


async def test_two_members_with_the_same_prefix_reach_each_other_and_part_again() -> None:
    async with pair() as (a, b):
        before = [side.contents(*TRACES) for side in (a, b)]
        mine, theirs = await connect(a, b)
        await settled(a, b)
        assert (mine.role, theirs.role) == (Role.INITIATOR, Role.RESPONDER)
        agreement = mine.agreement
        assert agreement is not None
        assert agreement == theirs.agreement
        assert (agreement.translation, agreement.link.kind) == (Translation.SINGLE, LinkKind.UNNUMBERED)
        alias = agreement.responder.prefixes[0].alias
        assert alias == agreement.initiator.prefixes[0].alias == ip_network("172.16.0.0/24")
        assert mine.verified is theirs.verified is Verified.PATH
        real = ip_network("10.0.0.0/24")
        (translating,), (plain,) = a.router.links.values(), b.router.links.values()
        assert translating.intent.local == (Mapping(real, alias),)
        assert translating.intent.remote == (Mapping(alias, real),)
        assert plain.intent.local == (Mapping(real, real),)
        assert plain.intent.remote == (Mapping(alias, alias),)
        assert (plain.intent.probe, plain.intent.peer_probe) == (ip_address("10.0.0.1"), ip_address("172.16.0.1"))
        assert translating.state is plain.state is LinkState.CONFIRMED
        signed = await a.client.agreement(mine.id)
        assert (set(signed.signers), signed.agreement) == ({"csp-a", "csp-b"}, agreement)
        assert signed.document == (await b.client.agreement(mine.id)).document

        ending = await a.client.terminate(mine.id)
        assert ending.state is State.TERMINATING
        assert (await a.until(mine.id)).state is State.TERMINATED
        assert (await b.until(mine.id)).state is State.TERMINATED
        await settled(a, b)
        assert a.router.links == b.router.links == {}
        assert [side.contents(*TRACES) for side in (a, b)] == before
        for side in (a, b):
            assert side.database.run_now(logbook.verify_audit) is None


async def test_either_side_may_take_it_back() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        await b.client.terminate(mine.id)
        assert (await a.until(mine.id)).state is State.TERMINATED
        assert (await b.until(mine.id)).state is State.TERMINATED
        again, _ = await connect(a, b)
        assert again.id != mine.id


@pytest.mark.parametrize("who", ["a", "b"])
async def test_either_side_may_take_it_back_where_one_cannot_be_reached(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meetme.negotiator.roll_call.COMPARE_SECONDS", 0.1)
    async with pair(behind_nat="b") as (a, b):
        before = [side.contents(*TRACES) for side in (a, b)]
        mine, _ = await connect(b, a)
        with pytest.raises(NotFound) as refused:
            await a.client.start(StartRequest("csp-b"))
        assert refused.value.code == "peer_url_missing"
        await {"a": a, "b": b}[who].client.terminate(mine.id)
        assert (await b.until(mine.id)).state is State.TERMINATED
        assert (await a.until(mine.id)).state is State.TERMINATED
        assert [side.contents(*TRACES) for side in (a, b)] == before


async def test_what_does_not_overlap_is_not_translated() -> None:
    async with pair(b={"local_subnet": (ip_network("10.9.0.0/24"),), "probe_address": ip_address("10.9.0.1")}) as (
        a,
        b,
    ):
        b.router.ports = b.router.ports[1:]
        await b.restart(crash=False)
        mine, _ = await connect(a, b)
        assert mine.agreement is not None
        assert mine.agreement.translation is Translation.NONE
        assert b.router.links["direct:csp-a:csp-b"].intent.peer_probe == ip_address("10.0.0.1")


async def test_a_side_that_cannot_do_without_gets_a_numbered_link() -> None:
    async with pair() as (a, b):
        b.router.capabilities_ = replace(CAN, unnumbered=False)
        await b.restart(crash=False)
        mine, _ = await connect(a, b)
        assert mine.agreement is not None
        assert mine.agreement.link.kind is LinkKind.NUMBERED
        link = a.router.links[mine.circuit].intent.link
        assert link is not None
        assert (str(link.local), str(link.peer)) == ("169.254.100.0/31", "169.254.100.1/31")
        assert b.router.links[mine.circuit].intent.link.local == link.peer


async def test_a_dry_run_shows_the_plan_and_changes_nothing() -> None:
    async with pair() as (a, b):
        before = [side.contents() for side in (a, b)]
        plan = await a.client.plan(StartRequest("csp-b"))
        assert plan.plan == ("ip route add 172.16.0.0/24",)
        assert plan.me == "csp-a"
        assert [side.contents() for side in (a, b)] == before
        assert a.router.links == b.router.links == {}
        assert "apply" not in a.router.calls + b.router.calls
        mine, _ = await connect(a, b)
        assert mine.agreement is not None
        assert replace(mine.agreement, id=plan.agreement.id) == plan.agreement, "what was shown is what comes"
        with pytest.raises(Conflict) as caught:
            await a.client.plan(StartRequest("csp-b"))
        assert (caught.value.code, caught.value.existing) == ("negotiation_exists", str(mine.id))


async def test_the_same_key_begins_one_negotiation_only() -> None:
    async with pair() as (a, b):
        first = await a.client.start(StartRequest("csp-b"), idempotency_key="k1")
        again = await a.client.start(StartRequest("csp-b"), idempotency_key="k1")
        assert again.id == first.id
        with pytest.raises(InvalidInput) as caught:
            await a.client.start(StartRequest("csp-b", mtu=1400), idempotency_key="k1")
        assert caught.value.code == "idempotency_key_reused"
        await a.until(first.id, State.ACTIVE)
        await a.client.terminate(first.id)
        await a.until(first.id)
        late = await a.client.start(StartRequest("csp-b"), idempotency_key="k1")
        assert (late.id, late.state) == (first.id, State.TERMINATED), "a repetition is answered, never carried out"
        assert len(await b.client.negotiations()) == 1


async def test_a_key_in_flight_is_told_apart() -> None:
    async with pair() as (a, _b):
        held = asyncio.Event()
        a.router.fail = lambda verb: held.wait() if verb == "observe" else None
        first = asyncio.create_task(a.client.start(StartRequest("csp-b"), idempotency_key="k1"))
        while "observe" not in a.router.calls[3:]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with pytest.raises(Conflict) as caught:
            await a.client.start(StartRequest("csp-b"), idempotency_key="k1")
        assert caught.value.code == "idempotency_key_in_flight"
        held.set()
        assert (await first).peer == "csp-b"


@pytest.mark.parametrize(
    ("request_", "error", "code", "field"),
    [
        (StartRequest("csp-z"), NotFound, "peer_unknown", "peer"),
        (StartRequest("csp-a"), InvalidInput, "peer_is_self", "peer"),
        (StartRequest("csp-b", local_subnets=["10.0.0.1/24"]), InvalidInput, "prefix_host_bits", "local_subnets[0]"),
        (StartRequest("csp-b", local_subnets=["10.0.0.0/40"]), InvalidInput, "prefix_malformed", "local_subnets[0]"),
        (StartRequest("csp-b", local_subnets=["0.0.0.0/0"]), InvalidInput, "prefix_default_route", "local_subnets[0]"),
        (
            StartRequest("csp-b", local_subnets=["10.0.0.0/24", "10.0.0.0/25"]),
            InvalidInput,
            "local_subnets_overlap",
            "local_subnets",
        ),
        (
            StartRequest("csp-b", private_networks=["10.0.0.0/8"]),
            InvalidInput,
            "pool_overlaps_subnet",
            "private_networks",
        ),
        (StartRequest("csp-b", local_subnets=[]), InvalidInput, "local_subnet_missing", "local_subnets"),
        (StartRequest("csp-b", port="eth9"), InvalidInput, "port_unknown", "port"),
        (StartRequest("csp-b", port="eth0"), Conflict, "port_in_use", "port"),
        (StartRequest("csp-b", port="r9/eth1"), InvalidInput, "router_unknown", "port"),
        (StartRequest("csp-b", circuit="c7"), NotFound, "attachment_unknown", "circuit"),
        (StartRequest("csp-b", circuit="direct:csp-a:csp-c"), InvalidInput, "circuit_of_others", "circuit"),
        (StartRequest("csp-b", mtu=9000), InvalidInput, "mtu_too_large", "mtu"),
        (StartRequest("csp-b", mtu=5), InvalidInput, "mtu_invalid", "mtu"),
        (StartRequest("csp-b", translation="some"), InvalidInput, "choice_unknown", "translation"),
        (StartRequest("csp-b", probe_target="x"), InvalidInput, "address_malformed", "probe_target"),
    ],
)
async def test_bad_input_is_one_clear_problem_and_changes_nothing(
    both: tuple[Side, Side], request_: StartRequest, error: type[MeetMeError], code: str, field: str
) -> None:
    a, b = both
    before = [side.contents() for side in both]
    for ask in (lambda: a.client.start(request_, idempotency_key=str(uuid4())), lambda: a.client.plan(request_)):
        with pytest.raises(error) as caught:
            await ask()
        assert (caught.value.code, caught.value.field) == (code, field)
    assert [side.contents() for side in both] == before
    assert a.router.links == b.router.links == {}


@pytest.fixture
async def both():
    async with pair() as sides:
        yield sides


async def test_every_problem_is_in_the_document(both: tuple[Side, Side]) -> None:
    a, _ = both
    async with httpx2.AsyncClient(headers={"authorization": "Bearer a token for tests"}) as http:
        url = a.service.local_url + "/api/v1/start_negotiation"
        body = {"peer": "csp-b", "local_subnets": ["10.0.0.1/24"], "mtu": 1}
        document = (await http.post(url, json=body)).json()
        assert [p["field"] for p in document["problems"]] == ["local_subnets[0]", "mtu"]
        unknown = await http.post(url, json={"peer": "csp-b", "pear": 1})
        assert (unknown.status_code, unknown.json()["field"]) == (422, "pear")
        large = await http.post(url, json={"peer": "csp-b", "order": "x" * 70_000})
        assert large.status_code == 413
        started = await http.post(url, json={"peer": "csp-b"})
        assert started.status_code == 202
        assert started.headers["location"] == f"/api/v1/negotiations/{started.json()['id']}"
        missing = await http.get(a.service.local_url + f"/api/v1/negotiations/{uuid4()}")
        assert (missing.status_code, missing.json()["type"]) == (404, "urn:meetme:problem:negotiation_unknown")
        ready = await http.get(a.service.local_url + "/readyz")
        assert ready.json()["ready"] is True


async def test_nobody_gets_in_without_a_token(both: tuple[Side, Side]) -> None:
    stranger = NegotiatorClient(both[0].service.local_url, "wrong")
    with pytest.raises(Unauthenticated):
        await stranger.start(StartRequest("csp-b"))
    await stranger.close()
    assert await both[0].client.negotiations() == []


async def test_a_pool_that_is_too_small_is_said_by_both_and_leaves_nothing() -> None:
    small = {"private_networks": (ip_network("172.16.0.0/28"),)}
    async with pair(a=small, b=small) as (a, b):
        before = [side.contents(*TRACES) for side in (a, b)]
        started = await a.client.start(StartRequest("csp-b"))
        ended = await a.until(started.id)
        assert ended.state is State.FAILED
        assert ended.problem is not None
        assert (ended.problem.code, ended.problem.field) == ("alias_pool_exhausted", "private_networks")
        assert (await b.until(started.id)).state is State.TERMINATED
        await settled(a, b)
        assert [side.contents(*TRACES) for side in (a, b)] == before
        with pytest.raises(Refused) as caught:
            await a.client.plan(StartRequest("csp-b"))
        assert caught.value.code == "alias_pool_exhausted"


async def test_a_device_that_refuses_undoes_both_sides() -> None:
    for broken in (0, 1):
        async with pair() as sides:
            a, b = sides
            before = [side.contents(*TRACES) for side in sides]
            sides[broken].router.fail = refusing(DeviceFailed("nft_failed", "nft: no such table"), "apply")
            started = await a.client.start(StartRequest("csp-b"))
            mine, theirs = await a.until(started.id), await b.until(started.id)
            assert mine.state in (State.FAILED, State.TERMINATED)
            assert theirs.state in (State.FAILED, State.TERMINATED)
            assert "nft_failed" in {view.problem.code for view in (mine, theirs) if view.problem}
            await settled(a, b)
            assert a.router.links == b.router.links == {}
            assert [side.contents(*TRACES) for side in sides] == before


async def test_packets_that_do_not_cross_fail_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("PROBE", 0.2), ("LEAST_PROBE", 0.1), ("DECIDE", 1.0), ("COMMIT", 1.5)):
        monkeypatch.setattr(f"meetme.negotiator.reactions.{name}_SECONDS", seconds)
    async with pair() as (a, b):
        a.router.wire.remove(b.router)
        b.router.wire = []
        started = await a.client.start(StartRequest("csp-b"))
        ended = await a.until(started.id)
        assert ended.state is State.FAILED
        assert ended.problem is not None
        assert ended.problem.code == "probe_unanswered"
        await b.until(started.id)
        await settled(a, b)
        assert a.router.links == b.router.links == {}


async def test_a_configurator_that_is_away_is_said_at_once_and_awaited_by_the_peer() -> None:
    async with pair() as (a, b):
        gone = Unreachable("configurator_unreachable", "configurator: does not answer")
        before = a.contents()
        a.router.fail = refusing(gone, "observe", "apply", "confirm", "remove")
        with pytest.raises(Unreachable):
            await a.client.start(StartRequest("csp-b"))
        assert a.contents() == before
        a.router.fail = refusing(gone, "apply")
        started = await a.client.start(StartRequest("csp-b"))
        await a.until(started.id, State.COMMITTED)
        await asyncio.sleep(0.3)
        a.router.fail = lambda _verb: None
        assert (await a.until(started.id, State.ACTIVE)).state is State.ACTIVE
        assert (await b.until(started.id, State.ACTIVE)).state is State.ACTIVE


async def test_a_peer_that_is_away_ends_it_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.negotiator.reactions.PROPOSE_SECONDS", 1.0)
    async with pair() as (a, b):
        before = a.contents(*TRACES, "runtime_effect")
        await b.service.close()
        started = await a.client.start(StartRequest("csp-b"))
        ended = await a.until(started.id)
        assert (ended.state, ended.problem and ended.problem.code) == (State.FAILED, "peer_unreachable")
        assert a.contents(*TRACES, "runtime_effect") == before


async def test_both_start_and_the_lower_member_wins() -> None:
    async with pair() as (a, b):
        held = {side.name: asyncio.Event() for side in (a, b)}
        post = {side.name: side.service._client.post for side in (a, b)}

        def hold(side: Side):
            async def wait(*args):
                await held[side.name].wait()
                return await post[side.name](*args)

            side.service._client.post = wait

        hold(a), hold(b)
        mine = await a.client.start(StartRequest("csp-b"), idempotency_key="a")
        theirs = await b.client.start(StartRequest("csp-a"), idempotency_key="b")
        for event in held.values():
            event.set()
        assert (await a.until(mine.id, State.ACTIVE)).state is State.ACTIVE
        lost = await b.until(theirs.id)
        assert (lost.state, lost.superseded_by) == (State.SUPERSEDED, mine.id)
        assert (await b.client.start(StartRequest("csp-a"), idempotency_key="b")).id == mine.id


async def test_attachments_say_where_circuits_land() -> None:
    async with pair() as (a, b):
        with pytest.raises(NotFound):
            await a.client.attachment("c7")
        for side in (a, b):
            assert await side.client.put_attachment("c7", Attachment("r1", "eth2", None, 1400)) == Attachment(
                "r1", "eth2", None, 1400
            )
        mine, _ = await connect(a, b, circuit="c7")
        assert mine.agreement is not None
        assert mine.agreement.mtu == 1400
        assert a.router.links["c7"].intent.port == "eth2"
        with pytest.raises(Conflict):
            await a.client.delete_attachment("c7")
        with pytest.raises(Conflict):
            await a.client.put_attachment("c7", Attachment("r1", "eth1"))
        await connect(a, b)
        await a.client.terminate(mine.id)
        await a.until(mine.id)
        await a.client.delete_attachment("c7")
        assert await a.client.attachments() == {}
        for wrong, code in (
            (Attachment("r9", "eth1"), "router_unknown"),
            (Attachment("r1", "eth9"), "port_unknown"),
            (Attachment("r1", "eth1", 5000), "vlan_invalid"),
        ):
            with pytest.raises(MeetMeError) as caught:
                await a.client.put_attachment("c8", wrong)
            assert caught.value.code == code
        await b.client.terminate((await b.client.negotiations())[0].id)


async def test_a_circuit_that_leads_to_somebody_else_is_refused() -> None:
    async with pair() as (a, b):
        await a.client.put_attachment("c7", Attachment("r1", "eth2"))
        await b.client.put_attachment("c7", Attachment("r1", "eth2", peer="csp-c"))
        assert (await b.client.attachment("c7")).peer == "csp-c"
        before = b.contents()
        with pytest.raises(Refused) as caught:
            await a.client.plan(StartRequest("csp-b", circuit="c7"))
        assert caught.value.code == "attachment_of_another"
        assert "csp-c" not in caught.value.text + caught.value.hint, "peers never hear of each other"
        started = await a.client.start(StartRequest("csp-b", circuit="c7"))
        ended = await a.until(started.id)
        assert (ended.state, ended.problem and ended.problem.code) == (State.REFUSED, "attachment_of_another")
        with pytest.raises(Refused) as own:
            await b.client.start(StartRequest("csp-a", circuit="c7"))
        assert own.value.code == "attachment_of_another"
        assert b.contents() == before
        await b.client.put_attachment("c7", Attachment("r1", "eth2", peer="csp-a"))
        mine, _ = await connect(a, b, circuit="c7")
        with pytest.raises(Conflict):
            await b.client.put_attachment("c7", Attachment("r1", "eth2", peer="csp-c"))
        with pytest.raises(InvalidInput) as malformed:
            await b.client.put_attachment("c8", Attachment("r1", "eth1", peer="no member"))
        assert malformed.value.field == "peer"
        await a.client.terminate(mine.id)


async def test_a_circuit_the_peer_has_not_registered_is_refused() -> None:
    async with pair() as (a, b):
        await a.client.put_attachment("c7", Attachment("r1", "eth2"))
        started = await a.client.start(StartRequest("csp-b", circuit="c7"))
        ended = await a.until(started.id)
        assert ended.state is State.REFUSED
        assert ended.problem is not None
        assert ended.problem.code == "attachment_unknown"
        assert await b.client.negotiations() == []


async def test_a_configurator_that_hangs_is_given_up_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.negotiator.performer.CALL_SECONDS", 0.2)
    monkeypatch.setattr("meetme.negotiator.reactions.DECIDE_SECONDS", 1.5)
    async with pair() as (a, b):
        before = [side.contents(*TRACES) for side in (a, b)]
        b.router.fail = lambda verb: asyncio.Event().wait() if verb == "apply" else None
        started = await a.client.start(StartRequest("csp-b"))
        await a.until(started.id, State.COMMITTED)
        theirs = await b.until(started.id)
        assert (theirs.state, theirs.problem and theirs.problem.code) == (State.FAILED, "configurator_timeout")
        mine = await a.until(started.id)
        assert (mine.state, mine.problem and mine.problem.code) == (State.FAILED, "configurator_timeout")
        await settled(a, b)
        assert a.router.links == b.router.links == {}
        assert [side.contents(*TRACES) for side in (a, b)] == before


async def test_what_the_device_has_lost_is_put_back() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        await settled(a, b)
        a.router.links.clear()
        await a.restart()
        async with asyncio.timeout(10):
            while mine.circuit not in a.router.links:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await settled(a, b)
        assert a.router.links[mine.circuit].intent.agreement == mine.id
        assert (await a.client.negotiation(mine.id)).state is State.ACTIVE
