"""Changes of an active agreement between two whole negotiators, over HTTP, with routers that live in memory."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import httpx2
import pytest

from meetme.model.agreement import Role
from meetme.model.errors import Conflict, DeviceFailed, InvalidInput, MeetMeError, NotFound, Unsupported
from meetme.model.intent import LinkState
from meetme.negotiator import events as ev
from meetme.negotiator import logbook, store
from meetme.negotiator.states import State
from meetme.negotiator.views import ChangeRequest, NegotiationView, StartRequest
from meetme.runtime.documents import verify_document

from .pair import TOKEN, Side, pair

MORE = ["10.0.0.0/24", "10.9.0.0/24"]


async def connect(a: Side, b: Side, **request: object) -> UUID:
    started = await a.client.start(StartRequest(b.name, **request))  # type: ignore[arg-type]
    for side in (a, b):
        shown = await side.until(started.id, State.ACTIVE)
        assert shown.state is State.ACTIVE, shown.problem
    return started.id


async def at_rest(side: Side, id: UUID) -> NegotiationView:
    """Once nothing of a change is under way at `side` and its router has carried out every order."""
    async with asyncio.timeout(15):
        while True:
            shown = await side.client.negotiation(id)
            going = shown.change is not None and shown.change.state in ("proposed", "held", "committed", "confirming")
            if not going and not any(due.what.startswith(("router", "change")) for due in shown.owed):
                return shown
            await asyncio.sleep(0.02)


def prefixes(view: NegotiationView, role: Role) -> list[str]:
    assert view.agreement is not None
    return [str(entry.real) for entry in view.agreement.side(role).prefixes]


async def in_force(a: Side, b: Side, id: UUID, revision: int) -> NegotiationView:
    """Both have the same agreement of this revision, signed by both, on their routers for good."""
    for side in (a, b):
        await at_rest(side, id)
    views = [await at_rest(side, id) for side in (a, b)]
    for side, shown in zip((a, b), views, strict=True):
        assert shown.state is State.ACTIVE
        assert shown.agreement is not None
        assert shown.agreement == views[0].agreement
        assert shown.agreement.revision == revision, shown.change
        signed = await side.client.agreement(id)
        assert signed.agreement == shown.agreement
        certificates = {s.name: (s.service._trust.identity.certificate,) for s in (a, b)}
        assert verify_document(signed.document, certificates).signers == {"csp-a", "csp-b"}
        link = side.router.links[shown.circuit]
        assert (link.intent.revision, link.state) == (revision, LinkState.CONFIRMED)
        wire = [str(m.inside) for m in link.intent.local]
        assert wire == prefixes(shown, shown.role)
    return views[0]


async def test_either_side_changes_what_it_announces() -> None:
    async with pair() as (a, b):
        id = await connect(a, b)
        first = await a.client.negotiation(id)
        begun = await a.client.change(id, ChangeRequest(MORE))
        assert begun.change is not None
        assert (begun.change.number, begun.change.state, begun.state) == (1, State.PROPOSED, State.ACTIVE)
        shown = await in_force(a, b, id, 2)
        assert prefixes(shown, Role.INITIATOR) == MORE
        assert first.agreement is not None
        assert shown.agreement is not None
        assert shown.agreement.responder == first.agreement.responder
        assert shown.agreement.initiator.prefixes[0] == first.agreement.initiator.prefixes[0]
        wanted = await b.client.change(id, ChangeRequest(["10.0.0.0/24", "10.8.0.0/24"], mtu=1400))
        assert wanted.change is not None
        shown = await in_force(a, b, id, 3)
        assert prefixes(shown, Role.RESPONDER) == ["10.0.0.0/24", "10.8.0.0/24"]
        assert shown.agreement is not None
        assert shown.agreement.mtu == 1400
        await a.client.change(id, ChangeRequest(["10.0.0.0/24"]))
        shown = await in_force(a, b, id, 4)
        assert prefixes(shown, Role.INITIATOR) == ["10.0.0.0/24"]
        await b.client.terminate(id)
        for side in (a, b):
            assert (await side.until(id)).state is State.TERMINATED
            assert side.router.links == {}
            assert side.contents()["negotiator_claim"] == []


async def test_events_steps_and_the_audit_log_tell_of_it() -> None:
    async with pair() as (a, b):
        id = await connect(a, b)
        seen = a.database.run_now(lambda tx: logbook.last_told(tx, id))
        await a.client.change(id, ChangeRequest(MORE))
        await in_force(a, b, id, 2)
        told = a.database.run_now(lambda tx: logbook.told(tx, id, seen))
        states = [t.body for t in told if t.kind == "state"]
        assert '"change":{"number":1,"state":"proposed","problem":null}' in states[0]
        assert '"change":null' in states[-1]
        assert '"revision":2' in states[-1]
        steps = [t.body.split('"')[3] for t in told if t.kind == "step"]
        assert steps[0] == "change 1: propose"
        assert "change 1" in steps
        audit = a.database.run_now(lambda tx: list(tx.exec_driver_sql("SELECT entry FROM negotiator_audit")))
        assert '"agreed":2' in audit[-1][0]
        assert a.database.run_now(logbook.verify_audit) is None


async def test_a_dry_run_shows_the_plan_and_changes_nothing() -> None:
    async with pair() as (a, b):
        id = await connect(a, b)
        await in_force(a, b, id, 1)
        before = [side.contents("runtime_effect") for side in (a, b)]
        plan = await a.client.plan_change(id, ChangeRequest(MORE))
        assert plan.agreement.revision == 2
        assert [str(e.real) for e in plan.agreement.initiator.prefixes] == MORE
        assert [side.contents("runtime_effect") for side in (a, b)] == before
        same = await b.client.plan_change(id, ChangeRequest())
        assert (same.plan, same.agreement.revision) == ((), 1)
        with pytest.raises(Unsupported) as caught:
            await b.client.plan_change(id, ChangeRequest(MORE))
        assert caught.value.code == "dry_run_elsewhere"
        await a.client.change(id, ChangeRequest(MORE))
        assert (await in_force(a, b, id, 2)).agreement == plan.agreement, "what was shown is what comes"


async def test_what_changes_nothing_is_done_at_once_without_a_word_to_the_peer() -> None:
    async with pair() as (a, b):
        id = await connect(a, b)
        before = await in_force(a, b, id, 1)
        heard = [len(side.contents()["negotiator_message"]) for side in (a, b)]
        for request in (ChangeRequest(), ChangeRequest(["10.0.0.0/24"]), ChangeRequest(mtu=1500)):
            for side in (a, b):
                shown = await side.client.change(id, request)
                assert (shown.agreement, shown.change) == (before.agreement, None)
        assert [len(side.contents()["negotiator_message"]) for side in (a, b)] == heard


async def test_the_same_key_changes_once() -> None:
    async with pair() as (a, b):
        id = await connect(a, b)
        await a.client.change(id, ChangeRequest(MORE), idempotency_key="k1")
        again = await a.client.change(id, ChangeRequest(MORE), idempotency_key="k1")
        assert again.id == id
        await in_force(a, b, id, 2)
        assert (await a.client.change(id, ChangeRequest(MORE), idempotency_key="k1")).change is None
        with pytest.raises(InvalidInput) as caught:
            await a.client.change(id, ChangeRequest(mtu=1400), idempotency_key="k1")
        assert caught.value.code == "idempotency_key_reused"
        await in_force(a, b, id, 2)


async def test_one_at_a_time() -> None:
    async with pair() as (a, b):
        id = await connect(a, b)
        await in_force(a, b, id, 1)
        held = asyncio.Event()
        b.router.fail = lambda verb: held.wait() if verb == "apply" else None
        await a.client.change(id, ChangeRequest(MORE))
        while "apply" not in b.router.calls[b.router.calls.index("probe") :]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for side, wish in ((a, ["10.7.0.0/24"]), (b, ["10.6.0.0/24"])):
            with pytest.raises(Conflict) as caught:
                await side.client.change(id, ChangeRequest(wish))
            assert caught.value.code == "change_under_way"
            assert caught.value.hint.startswith("follow it")
        held.set()
        await in_force(a, b, id, 2)


@pytest.mark.parametrize(
    ("request_", "error", "code", "field"),
    [
        (ChangeRequest(["10.0.0.1/24"]), InvalidInput, "prefix_host_bits", "local_subnets[0]"),
        (ChangeRequest([]), InvalidInput, "local_subnet_missing", "local_subnets"),
        (ChangeRequest(["10.0.0.0/24", "10.0.0.0/25"]), InvalidInput, "local_subnets_overlap", "local_subnets"),
        (ChangeRequest(["172.16.5.0/24"]), InvalidInput, "pool_overlaps_subnet", "private_networks"),
        (ChangeRequest(MORE, ["10.9.0.1/16"]), InvalidInput, "prefix_host_bits", "private_networks[0]"),
        (ChangeRequest(mtu=5), InvalidInput, "mtu_invalid", "mtu"),
        (ChangeRequest(mtu=9000), InvalidInput, "mtu_too_large", "mtu"),
    ],
)
async def test_bad_input_is_one_clear_problem_and_changes_nothing(
    connected: tuple[Side, Side, UUID], request_: ChangeRequest, error: type[MeetMeError], code: str, field: str
) -> None:
    a, b, id = connected
    for ask in (lambda: a.client.change(id, request_), lambda: a.client.plan_change(id, request_)):
        with pytest.raises(error) as caught:
            await ask()
        assert (caught.value.code, caught.value.field) == (code, field)
    await in_force(a, b, id, 1)


@pytest.fixture
async def connected():  # type: ignore[no-untyped-def]
    async with pair() as (a, b):
        yield a, b, await connect(a, b)


async def test_only_what_is_active_can_be_changed(connected: tuple[Side, Side, UUID]) -> None:
    a, _, id = connected
    with pytest.raises(NotFound):
        await a.client.change(uuid4(), ChangeRequest(MORE))
    await a.client.terminate(id)
    with pytest.raises(Conflict) as caught:
        await a.client.change(id, ChangeRequest(MORE))
    assert caught.value.code == "negotiation_not_active"
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}) as http:
        url = f"{a.service.local_url}/api/v1/negotiations/{id}"
        unknown = await http.patch(url, json={"local_subnet": ["10.0.0.0/24"]})
        assert (unknown.status_code, unknown.json()["field"]) == (422, "local_subnet")
        gone = await http.patch(url, json={})
        assert (gone.status_code, gone.json()["type"]) == (409, "urn:meetme:problem:negotiation_not_active")


async def test_a_router_that_refuses_leaves_the_agreement_in_force() -> None:
    async with pair() as (a, b):
        id = await connect(a, b)
        await in_force(a, b, id, 1)
        for number, side in enumerate((b, a), start=1):
            calls = iter(range(99))

            def once(verb: str, calls=calls) -> None:  # type: ignore[no-untyped-def]
                if verb == "apply" and next(calls) == 0:
                    raise DeviceFailed("command_failed", "device: refused that")

            side.router.fail = once
            await a.client.change(id, ChangeRequest(MORE))
            await in_force(a, b, id, 1)
            shown = await a.client.negotiation(id)
            assert shown.change is not None
            assert shown.change.problem is not None
            assert (shown.change.number, shown.change.state) == (number, State.FAILED)
            assert shown.change.problem.code == "command_failed"
            side.router.fail = lambda _verb: None
        await a.client.change(id, ChangeRequest(MORE))
        await in_force(a, b, id, 2)


@pytest.mark.parametrize("verb", ["apply", "probe"])
@pytest.mark.parametrize("letter", ["a", "b"])
async def test_killed_in_the_middle_both_end_on_the_same_revision(tmp_path, letter: str, verb: str) -> None:  # type: ignore[no-untyped-def]
    async with pair(tmp_path) as (a, b):
        id = await connect(a, b)
        await in_force(a, b, id, 1)
        side = {"a": a, "b": b}[letter]
        reached = asyncio.Event()

        def stop(called: str):  # type: ignore[no-untyped-def]
            if called != verb:
                return None
            reached.set()
            return asyncio.Event().wait()

        side.router.fail = stop
        await a.client.change(id, ChangeRequest(MORE))
        await asyncio.wait_for(reached.wait(), 10)
        side.router.fail = lambda _verb: None
        await side.restart()
        await in_force(a, b, id, 2)


async def test_a_restored_backup_gets_the_agreement_in_force(tmp_path) -> None:  # type: ignore[no-untyped-def]
    async with pair(tmp_path) as (a, b):
        id = await connect(a, b)
        await in_force(a, b, id, 1)
        old = b.database.run_now(lambda tx: store.load(tx, id))
        assert old is not None
        await a.client.change(id, ChangeRequest(MORE))
        await in_force(a, b, id, 2)
        b.database.run_now(lambda tx: store.save(tx, old, new=False))
        assert prefixes(await b.client.negotiation(id), Role.INITIATOR) == ["10.0.0.0/24"]
        await a.service._loop.deliver(str(id), ev.CompareDue(0.0))
        async with asyncio.timeout(10):
            while prefixes(await b.client.negotiation(id), Role.INITIATOR) != MORE:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await in_force(a, b, id, 2)
