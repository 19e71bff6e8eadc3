"""What members see and may do at the listener of a composer, and what other composers may say there."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from meetme.composer import store, wire
from meetme.composer.circuit import Circuit
from meetme.composer.messages import HoldBody, QueryBody, ReleaseBody
from meetme.composer.words import CircuitRequest, End, Hop, Reservation, State, reference
from meetme.ixapi.orders import OrderEnd, SegmentOrder
from meetme.model.agreement import MemberId
from meetme.model.errors import Unreachable

from .federation import Federation, access, chain, federation, nni, settings

CIRCUITS = "/api/v1/circuits"
A1 = {"member": "csp-a", "port": "a1"}
B1 = {"member": "csp-b", "port": "b1"}


async def test_a_member_orders_sees_its_own_end_and_takes_it_back() -> None:
    async with federation(chain("ixp-1", "ixp-2", mandates=("csp-b",))) as fed:
        body = {"a": A1, "b": B1, "bandwidth": 10}
        refused = await fed.as_member("csp-c", "ixp-1", "POST", CIRCUITS, body)
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:meetme:problem:not_an_end")
        started = (await fed.as_member("csp-a", "ixp-1", "POST", CIRCUITS, body)).json()
        id = UUID(started["id"])
        assert (await fed["ixp-1"].until(id, State.ACTIVE)).state is State.ACTIVE
        await fed["ixp-2"].until(id, State.ACTIVE)

        mine = (await fed.as_member("csp-a", "ixp-1", "GET", f"{CIRCUITS}/{id}")).json()
        assert [(end["member"], end["exchange"]) for end in mine["ends"]] == [("csp-a", "ixp-1")]
        assert [hop["exchange"] for hop in mine["path"]] == ["ixp-1", "ixp-2"], "it has ordered it"
        assert mine["owed"] == []
        theirs = (await fed.as_member("csp-b", "ixp-2", "GET", f"{CIRCUITS}/{id}")).json()
        assert [(end["member"], end["exchange"]) for end in theirs["ends"]] == [("csp-b", "ixp-2")]
        assert theirs["path"] == []
        elsewhere = (await fed.as_member("csp-b", "ixp-1", "GET", f"{CIRCUITS}/{id}")).json()
        assert elsewhere["ends"] == [], "its end is at another exchange"
        for method in ("GET", "DELETE"):
            stranger = await fed.as_member("csp-c", "ixp-1", method, f"{CIRCUITS}/{id}")
            assert stranger.status_code == 404
        assert (await fed.as_member("csp-c", "ixp-1", "GET", f"{CIRCUITS}/{id}/events")).status_code == 404
        assert (await fed.as_member("csp-c", "ixp-1", "GET", CIRCUITS)).json() == []
        assert len((await fed.as_member("csp-b", "ixp-2", "GET", CIRCUITS)).json()) == 1

        gone = await fed.as_member("csp-b", "ixp-2", "DELETE", f"{CIRCUITS}/{id}")
        assert gone.status_code == 202
        assert (await fed["ixp-1"].until(id)).state is State.RELEASED
        await fed.empty()
        told = (await fed.as_member("csp-b", "ixp-2", "GET", f"{CIRCUITS}/{id}/events")).text
        assert "ixp-1" not in told.replace("ordered_by", "")


async def test_a_member_is_told_what_it_has_begun_with_which_key() -> None:
    async with federation(chain("ixp-1", "ixp-2", mandates=("csp-b",))) as fed:
        keys, begun = "/api/v1/circuit-keys", {}
        for member, key in (("csp-a", "order-1"), ("csp-a", "Order-2"), ("csp-a", "other"), ("csp-b", "order-3")):
            at = "ixp-1" if member == "csp-a" else "ixp-2"
            made = await fed.as_member(member, at, "POST", CIRCUITS, {"a": A1, "b": B1, "bandwidth": 1}, key=key)
            assert made.status_code == 202, made.text
            begun[key] = made.json()["id"]
        (told,) = (await fed.as_member("csp-a", "ixp-1", "GET", keys + "?beginning=order-")).json()
        assert (told["key"], told["circuit"]) == ("order-1", begun["order-1"])
        everything = (await fed.as_member("csp-a", "ixp-1", "GET", keys)).json()
        assert {each["key"] for each in everything} == {"order-1", "Order-2", "other"}
        assert (await fed.as_member("csp-b", "ixp-1", "GET", keys)).json() == []
        assert (await fed.as_member("csp-a", "ixp-1", "GET", keys + "?beginning=%00")).status_code == 422
        await fed.as_member("csp-a", "ixp-1", "DELETE", f"{CIRCUITS}/{begun['order-1']}")
        await fed["ixp-1"].until(UUID(begun["order-1"]))
        assert (await fed.as_member("csp-a", "ixp-1", "GET", keys + "?beginning=order-")).json() == []


WRONG = [
    ({"a": A1, "b": B1}, 422, "field_missing", "bandwidth"),
    ({"a": A1, "b": B1, "bandwidth": 0}, 422, "bandwidth_invalid", "bandwidth"),
    ({"a": A1, "b": B1, "bandwidth": "much"}, 422, "field_invalid", "bandwidth"),
    ({"a": A1, "b": B1, "bandwidth": 1, "speed": 1}, 422, "field_unknown", "speed"),
    ({"a": A1, "b": A1, "bandwidth": 1}, 422, "ends_same", "b"),
    ({"a": {**A1, "vlan": 1}, "b": B1, "bandwidth": 1}, 422, "vlan_invalid", "a.vlan"),
    ({"a": {**A1, "member": "NO"}, "b": B1, "bandwidth": 1}, 422, "member_id_malformed", "a.member"),
    ({"a": A1, "b": B1, "bandwidth": 1, "objective": "speed"}, 422, "choice_unknown", "objective"),
    ({"a": A1, "b": B1, "bandwidth": 1, "mtu": 1}, 422, "mtu_invalid", "mtu"),
    ({"a": A1, "b": B1, "bandwidth": 1, "then": "dance"}, 422, "choice_unknown", "then"),
    (
        {"a": A1, "b": B1, "bandwidth": 1, "constraints": {"avoid_countries": ["Germany"]}},
        422,
        "country_invalid",
        "constraints.avoid_countries[0]",
    ),
    ({"offer": str(UUID(int=5))}, 404, "offer_unknown", "offer"),
    ({"offer": "mine"}, 422, "field_invalid", "offer"),
    ([], 422, None, None),
]


async def test_wrong_orders_get_one_clear_error(one: Federation) -> None:
    for body, status, code, field in WRONG:
        answer = await one.as_member("csp-a", "ixp-1", "POST", CIRCUITS, body)
        document = answer.json()
        assert answer.status_code == status, document
        if code is not None:
            assert (document["type"].rpartition(":")[2], document["field"]) == (code, field)
    assert one["ixp-1"].database.run_now(store.circuits) == []


@pytest.fixture
async def one():
    async with federation(chain("ixp-1", "ixp-2")) as fed:
        yield fed


def message(body: Any, path: int = 1, attempt: int = 1, **changes: Any) -> dict[str, Any]:
    plain = wire.Message(uuid4(), uuid4(), path, attempt, MemberId("ixp-1"), MemberId("ixp-2"), time.time() + 30, body)
    return {**wire.message_json(plain), **changes}


REQUEST = CircuitRequest(End(MemberId("csp-a"), "a1"), End(MemberId("csp-b"), "b1"), 10)
HOPS = (Hop(MemberId("ixp-1"), "a1", "to-ixp-2"), Hop(MemberId("ixp-2"), "to-ixp-1", "b1"))
HELD = (Reservation(MemberId("ixp-1"), 2, 2, 1500),)


async def test_messages_that_make_no_sense_change_nothing(one: Federation) -> None:
    path = "/api/v1/handle_circuit"
    cases = [
        ("csp-a", message(QueryBody(None, State.HELD)), 403, "not_an_exchange"),
        ("ixp-1", message(QueryBody(None, State.HELD), **{"from": "ixp-9"}), 403, "sender_mismatch"),
        ("ixp-1", message(QueryBody(None, State.HELD), to="ixp-1"), 403, "receiver_mismatch"),
        ("ixp-1", message(QueryBody(None, State.HELD), expires="2001-01-01T00:00:00Z"), 409, "message_expired"),
        ("ixp-1", message(QueryBody(None, State.HELD), expires="2091-01-01T00:00:00"), 422, "message_malformed"),
        ("ixp-1", message(QueryBody(None, State.HELD), version=2), 422, "version_unknown"),
        ("ixp-1", message(QueryBody(None, State.HELD), type="dance"), 422, "message_type_unknown"),
        ("ixp-1", message(QueryBody(None, State.HELD), type="held"), 422, "message_type_unknown"),
        ("ixp-1", {**message(QueryBody(None, State.HELD)), "body": {"state": "asleep"}}, 422, "message_malformed"),
        ("ixp-1", message(QueryBody(None, State.HELD), path=7), 422, "message_malformed"),
        ("ixp-1", ["hold"], 422, "message_malformed"),
    ]
    for who, body, status, code in cases:
        answer = await one.as_member(who, "ixp-2", "POST", path, body)
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, code), answer.text
    for body, answer_type in ((QueryBody(None, State.HELD), "state"), (ReleaseBody(), "released")):
        answer = await one.as_member("ixp-1", "ixp-2", "POST", path, message(body))
        assert (answer.status_code, answer.json()["type"]) == (200, answer_type)
    assert one["ixp-2"].database.run_now(store.circuits) == []
    assert one["ixp-2"].claims() == []


IMPOSSIBLE = [
    (HOPS[:1], HELD, 2, REQUEST, "path_malformed"),
    ((), HELD, 2, REQUEST, "path_malformed"),
    ((HOPS[0], HOPS[0]), HELD, 2, REQUEST, "path_malformed"),
    (HOPS, HELD, None, REQUEST, "label_malformed"),
    (HOPS, HELD, 4095, REQUEST, "label_malformed"),
    (HOPS, HELD, 2, CircuitRequest(REQUEST.a, End(MemberId("csp-c"), "b1"), 10), "port_of_another"),
    (HOPS, HELD, 2, CircuitRequest(REQUEST.a, REQUEST.b, 10_000), "capacity_exhausted"),
    (
        (Hop(MemberId("ixp-1"), "a1", "other"), HOPS[1]),
        HELD,
        2,
        REQUEST,
        "link_unknown",
    ),
]


async def test_a_hold_that_cannot_be_is_refused(one: Federation) -> None:
    for hops, trace, label, request, code in IMPOSSIBLE:
        body = HoldBody(request, MemberId("csp-b"), hops, trace, label, 1500, 30.0)
        answer = await one.as_member("ixp-1", "ixp-2", "POST", "/api/v1/handle_circuit", message(body))
        assert (answer.status_code, answer.json()["type"]) == (200, "refused"), answer.text
        assert answer.json()["body"]["problem"]["code"] == code
    assert one["ixp-2"].claims() == []


async def test_a_leg_that_the_store_has_forgotten_is_taken_off_the_exchange_before_it_counts_as_released(
    one: Federation,
) -> None:
    exchange = one["ixp-2"].exchange
    body = message(ReleaseBody())
    segment = reference(UUID(body["circuit"]), 1, 1)
    await exchange.build(SegmentOrder(segment, OrderEnd("to-ixp-1", 2), OrderEnd("b1"), 10))
    exchange.fail(Unreachable("exchange_unreachable", "exchange: does not answer"))
    refused = await one.as_member("ixp-1", "ixp-2", "POST", "/api/v1/handle_circuit", body)
    assert refused.status_code >= 400
    assert segment in exchange.segments
    answer = await one.as_member("ixp-1", "ixp-2", "POST", "/api/v1/handle_circuit", body)
    assert (answer.status_code, answer.json()["type"]) == (200, "released")
    assert segment not in exchange.segments


@pytest.mark.parametrize(("path", "attempt"), [(1, 3), (0, 0)])
async def test_a_hold_that_comes_after_its_own_release_begins_nothing(one: Federation, path: int, attempt: int) -> None:
    async def say(body: Any, attempt: int, **changes: Any) -> dict[str, Any]:
        said = message(body, path, attempt, circuit=str(circuit), **changes)
        answer = await one.as_member("ixp-1", "ixp-2", "POST", "/api/v1/handle_circuit", said)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    circuit, there = uuid4(), one["ixp-2"]
    backward = CircuitRequest(REQUEST.b, REQUEST.a, 10)  # ixp-2 is the head of what is passed on to it
    hold = HoldBody(REQUEST, MemberId("csp-b"), HOPS, HELD, 2, 1500, 30.0) if path else HoldBody(backward, "csp-b")
    assert (await say(ReleaseBody(), attempt))["type"] == "released"
    late = await say(hold, attempt)
    assert (late["type"], late["body"]["problem"]["code"]) == ("refused", "circuit_unknown")
    assert there.claims() == []
    assert there.database.run_now(lambda tx: store.circuits(tx, live=True)) == []
    assert (await say(ReleaseBody(), attempt))["type"] == "released"
    if path:
        newer = await say(hold, attempt + 1)
        assert newer["type"] == "held", "a later attempt is none of what was given up"
    there.database.run_now(lambda tx: store.forget_given_up(tx, time.time() + 1))
    circuit = uuid4()
    assert (await say(hold, attempt))["type"] == "held"


async def test_who_was_to_be_on_an_earlier_way_takes_back_what_never_came() -> None:
    """ixp-3 was asked first and not heard of; by the time it speaks, the circuit leads round it."""
    layout = {
        "ixp-1": settings(nni("ixp-1", "ixp-2"), access("a1", "csp-a")),
        "ixp-2": settings(nni("ixp-2", "ixp-1"), nni("ixp-2", "ixp-3"), access("b1", "csp-b")),
        "ixp-3": settings(nni("ixp-3", "ixp-2")),
    }
    async with federation(layout) as fed:
        circuit = str(uuid4())

        async def say(sender: str, body: Any, attempt: int) -> httpx2.Response:
            said = message(body, 1, attempt, circuit=circuit, **{"from": sender})
            return await fed.as_member(sender, "ixp-2", "POST", "/api/v1/handle_circuit", said)

        begun = await say("ixp-1", HoldBody(REQUEST, MemberId("csp-b"), HOPS, HELD, 2, 1500, 30.0), 2)
        assert begun.json()["type"] == "held", begun.text
        assert (await say("ixp-3", ReleaseBody(), 1)).json()["type"] == "released"
        late = await say("ixp-3", HoldBody(REQUEST, MemberId("csp-b"), HOPS, HELD, 2, 1500, 30.0), 1)
        assert late.json()["type"] == "refused"
        # Of the way that it now takes it has nothing to say.
        other = await say("ixp-3", ReleaseBody(), 2)
        assert (other.status_code, other.json()["type"]) == (403, "urn:meetme:problem:not_a_party")
        # ixp-1 knows nothing of it: nothing is left in the end.
        await fed.empty()


async def test_a_repeated_message_gets_the_same_answer(one: Federation) -> None:
    body = message(HoldBody(REQUEST, MemberId("csp-b"), HOPS, HELD, 2, 1500, 30.0))
    first = await one.as_member("ixp-1", "ixp-2", "POST", "/api/v1/handle_circuit", body)
    again = await one.as_member("ixp-1", "ixp-2", "POST", "/api/v1/handle_circuit", body)
    assert first.json() == again.json()
    assert first.json()["type"] == "held"
    third = {**message(ReleaseBody()), "circuit": body["circuit"], "from": "ixp-1"}
    stranger = await one.as_member("ixp-1", "ixp-2", "POST", "/api/v1/handle_circuit", third)
    assert stranger.status_code == 200
    assert isinstance(one["ixp-2"].database.run_now(lambda tx: store.load(tx, body["circuit"])), Circuit)
