"""What the negotiator has written is what it reads, and nothing is given out twice."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, inspect, text

from meetme.model.addresses import overlaps
from meetme.model.errors import Conflict
from meetme.negotiator import events as ev
from meetme.negotiator import logbook, store, wire
from meetme.negotiator.effects import Probe, Program, Send, Verb, Wake
from meetme.negotiator.machine import NegotiationMachine, read_effect, write_effect
from meetme.negotiator.messages import MessageType, TerminateBody, TerminatedBody
from meetme.negotiator.negotiation import Claim
from meetme.negotiator.protocol import claims
from meetme.negotiator.states import Device, State
from meetme.runtime.database import Database, migrate
from meetme.runtime.ledger import Ledger

from . import values

NOW = 1000.0


class PlainSigner:
    """Signs with its name."""

    def sign(self, payload: bytes) -> str:
        return "signed"

    def countersign(self, document: str) -> str:
        return document + "+signed"


@pytest.fixture
def database(database_url: str):
    database = Database.open(database_url)
    migrate(database, "meetme.runtime")
    migrate(database, "meetme.negotiator")
    yield database
    database.close_now()


def test_the_tables_are_those_of_the_migration(database: Database) -> None:
    tables = [*store.NEGOTIATION.metadata.sorted_tables, *logbook.EVENT.metadata.sorted_tables]

    def shape(tx):
        found = {}
        for table in tables:
            found[table.name] = {column["name"] for column in inspect(tx).get_columns(table.name)}
        return found

    expected = {t.name: {c.name for c in t.columns} for t in tables}
    assert database.run_now(shape) == expected


def test_what_one_claims_no_other_can(database: Database) -> None:
    first, second = values.negotiated(1), values.negotiated(2)
    database.run_now(lambda tx: store.claim(tx, first.id, claims(first)))
    database.run_now(lambda tx: store.claim(tx, second.id, claims(second)))
    taken = replace(second, attachment=first.attachment)
    with pytest.raises(Conflict) as caught:
        database.run_now(lambda tx: store.claim(tx, taken.id, claims(taken)))
    assert (caught.value.code, caught.value.field) == ("claim_conflict", "port")
    assert database.run_now(lambda tx: store.claimant(tx, "port", "r1/p2")) == second.id, "the refusal changed nothing"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(values.prefix, min_size=1, max_size=6), values.prefix)
def test_a_prefix_is_refused_exactly_where_it_shares_an_address(database: Database, held, wanted) -> None:
    mine = [Claim("prefix", str(p), p) for p in dict.fromkeys(held)]

    def only_mine(tx) -> None:
        store.claim(tx, UUID(int=2), ())
        store.claim(tx, UUID(int=1), mine)

    database.run_now(only_mine)
    clash = any(overlaps(wanted, p) for p in held)
    try:
        database.run_now(lambda tx: store.claim(tx, UUID(int=2), [Claim("prefix", str(wanted), wanted)]))
    except Conflict:
        assert clash
    else:
        assert not clash


def test_claims_are_those_of_others(database: Database) -> None:
    for number in (1, 2):
        n = values.negotiated(number)
        database.run_now(lambda tx, n=n: store.claim(tx, n.id, claims(n)))
    others = database.run_now(lambda tx: store.claimed_prefixes(tx, other_than=UUID(int=1)))
    assert others == (ip_network("10.0.0.0/24"), ip_network("172.31.2.0/24"))


def test_what_is_announced_is_shared_with_announcements_alone(database: Database) -> None:
    """Two negotiations may announce one prefix; what is reached at a peer may not overlap it, and vice versa."""
    mine, wider = ip_network("10.7.0.0/24"), ip_network("10.7.0.0/16")
    claim = lambda number, *what: database.run_now(lambda tx: store.claim(tx, UUID(int=number), what))  # noqa: E731
    claim(1, Claim("local", str(mine), mine))
    claim(2, Claim("local", str(mine), mine), Claim("local", "10.7.1.0/24", ip_network("10.7.1.0/24")))
    with pytest.raises(Conflict):
        claim(3, Claim("prefix", str(wider), wider))
    claim(1)
    claim(2)
    claim(3, Claim("prefix", str(wider), wider))
    with pytest.raises(Conflict):
        claim(4, Claim("local", str(mine), mine))
    found = database.run_now(lambda tx: store.announced_in_vain(tx, (ip_network("10.8.0.0/16"), mine)))
    assert found is not None
    assert (found.code, found.existing) == ("local_subnet_in_use", str(UUID(int=3)))
    assert database.run_now(lambda tx: store.announced_in_vain(tx, (mine,), UUID(int=3))) is None


def put(tx: Connection, message: wire.Message, body: str) -> None:
    store.MAILBOX.put(
        tx, message.sender, message.message, message.negotiation, body=body, expires=message.expires, now=NOW
    )


def test_a_repeated_message_gets_the_stored_answer(database: Database) -> None:
    machine, ledger = NegotiationMachine(PlainSigner()), Ledger()
    n = values.negotiated()
    request = wire.Message(n.id, UUID(int=9), n.circuit, n.peer, n.me, NOW + 30, TerminateBody())
    database.run_now(lambda tx: store.save(tx, n, new=True))

    def receive(tx):
        assert store.MAILBOX.known(tx, n.peer, request.message) is None
        put(tx, request, "as it came")
        return ledger.deliver(tx, machine, str(n.id), ev.TerminateReceived(NOW, request.message), NOW)

    assert database.run_now(receive).state is State.TERMINATED
    known = database.run_now(lambda tx: store.MAILBOX.known(tx, n.peer, request.message))
    assert known is not None
    assert known.answer is not None
    answer = wire.read_message(known.answer)
    assert (answer.body, answer.sender, answer.to) == (TerminatedBody(), n.me, n.peer)
    assert database.run_now(lambda tx: store.claimed_prefixes(tx)) == ()


def test_only_answered_messages_are_forgotten(database: Database) -> None:
    n = values.negotiated()
    for number in (1, 2):
        message = wire.Message(n.id, UUID(int=number), n.circuit, n.peer, n.me, NOW, TerminateBody())
        database.run_now(lambda tx, m=message: put(tx, m, ""))
    database.run_now(lambda tx: store.MAILBOX.answer(tx, n.peer, UUID(int=1), "answer"))
    assert database.run_now(lambda tx: store.purge_messages(tx, NOW + 10)) == 0, "still good"
    assert database.run_now(lambda tx: store.purge_messages(tx, NOW + store.KEPT_SECONDS + 1)) == 1
    assert database.run_now(lambda tx: store.MAILBOX.known(tx, n.peer, UUID(int=2))) is not None


def test_generations_only_grow_and_outlive_negotiations(database: Database) -> None:
    assert database.run_now(lambda tx: store.next_generation(tx, "c", 0.0)) == 1
    database.run_now(lambda tx: store.keep_generation(tx, "c", 7))
    database.run_now(lambda tx: store.keep_generation(tx, "c", 5))
    assert database.run_now(lambda tx: store.next_generation(tx, "c", 0.0)) == 8
    assert database.run_now(lambda tx: store.next_generation(tx, "c", 50.0)) == 50_000, "above a lost past"


def test_who_has_a_circuit(database: Database) -> None:
    live, undone = values.negotiated(1), values.negotiated(2, state=State.FAILED, device=Device.REMOVING)
    for n in (live, undone):
        database.run_now(lambda tx, n=n: store.save(tx, n, new=True))
        database.run_now(lambda tx, n=n: store.claim(tx, n.id, claims(n)))
    find = lambda circuit, but=None: database.run_now(lambda tx: store.rival(tx, circuit, but))  # noqa: E731
    assert find("c1").id == live.id
    assert find("c1", live.id) is None
    assert find("c2").state is State.FAILED, "it ended, but its router is not clean yet"
    assert find("c3") is None


def test_the_audit_log_shows_tampering(database: Database) -> None:
    for number in range(5):
        database.run_now(lambda tx, n=number: logbook.audit(tx, NOW, "Start", negotiation=str(n)))
    assert database.run_now(logbook.verify_audit) is None
    head = database.run_now(logbook.audit_head)
    for change in (
        "UPDATE negotiator_audit SET entry = replace(entry, 'Start', 'Stop') WHERE sequence = 3",
        "DELETE FROM negotiator_audit WHERE sequence = 3",
    ):

        def tamper(tx, change=change):
            tx.execute(text(change))
            found = logbook.verify_audit(tx)
            tx.rollback()
            return found

        with database._engine.connect() as tx:
            assert tamper(tx) == 3
    with database._engine.connect() as tx:
        tx.execute(text("DELETE FROM negotiator_audit WHERE sequence = 5"))
        assert logbook.verify_audit(tx) is None
        assert logbook.audit_head(tx) != head, "an end that was cut off shows to who knows the head"
        tx.rollback()


@pytest.mark.parametrize(
    "effect",
    [
        Send(MessageType.QUERY, UUID(int=3), "send:query"),
        Program(Verb.APPLY, 7, 45.0),
        Probe(12.0),
        Wake(ev.Deadline, 0.0),
        Wake(ev.CompareDue, 0.0),
    ],
)
def test_an_effect_is_read_as_it_was_written(effect) -> None:
    owed = write_effect(effect)
    assert read_effect(owed.kind, owed.key, owed.body) == effect


def test_a_negotiation_that_cannot_be_saved_leaves_nothing(database: Database) -> None:
    machine, ledger = NegotiationMachine(PlainSigner()), Ledger()
    holder = values.negotiated(1)
    database.run_now(lambda tx: store.claim(tx, UUID(int=99), claims(holder)))
    agreed = holder.agreement
    restored = ev.Restored(NOW, UUID(int=5), agreed, holder.role, holder.attachment, 1, "document")
    with pytest.raises(Conflict):
        database.run_now(lambda tx: ledger.deliver(tx, machine, str(holder.id), restored, NOW))
    assert database.run_now(lambda tx: store.load(tx, holder.id)) is None
    assert database.run_now(lambda tx: ledger.owed(tx, machine.name, str(holder.id))) == []
    assert database.run_now(lambda tx: logbook.told(tx, holder.id)) == []
    assert database.run_now(logbook.audit_head) == (0, "")


def test_what_is_told_can_be_resumed(database: Database) -> None:
    machine, ledger = NegotiationMachine(PlainSigner()), Ledger()
    n = values.negotiated()
    database.run_now(lambda tx: store.save(tx, n, new=True))
    database.run_now(lambda tx: ledger.deliver(tx, machine, str(n.id), ev.Deadline(NOW), NOW))
    entries = database.run_now(lambda tx: logbook.told(tx, n.id))
    assert [entry.kind for entry in entries] == ["step", "state"]
    assert database.run_now(lambda tx: logbook.told(tx, n.id, after=entries[0].sequence)) == entries[1:]


def test_both_signatures_are_kept_with_the_state(database: Database) -> None:
    machine, ledger = NegotiationMachine(PlainSigner()), Ledger()
    n = values.negotiated(document="theirs")
    database.run_now(lambda tx: store.save(tx, n, new=True))
    other = replace(n.agreement, mtu=1400)
    deliver = lambda event: database.run_now(lambda tx: ledger.deliver(tx, machine, str(n.id), event, NOW))  # noqa: E731
    deliver(ev.CommitReceived(NOW, UUID(int=7), other, "forged"))
    assert database.run_now(lambda tx: store.load(tx, n.id)).document == "theirs"
    deliver(ev.CommitReceived(NOW, UUID(int=8), n.agreement, "theirs+signed"))
    stored = database.run_now(lambda tx: store.load(tx, n.id))
    assert (stored.state, stored.document) == (State.COMMITTED, "theirs+signed")
