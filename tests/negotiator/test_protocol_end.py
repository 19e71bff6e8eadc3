"""The protocol where both offer at once, where it is refused, and what is owed at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from uuid import UUID, uuid4

import pytest

from meetme.model.addresses import Prefix
from meetme.model.agreement import Role
from meetme.model.errors import Fault, Problem
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator.addressing import Can, Usage
from meetme.negotiator.claims import claims
from meetme.negotiator.effects import Cancel, Outcome, Program, Send, Verb, Wake
from meetme.negotiator.endings import QUARANTINE_SECONDS, UNDO_SECONDS
from meetme.negotiator.events import Rival
from meetme.negotiator.messages import (
    CounterBody,
    FailedBody,
    MessageType,
    RefuseBody,
    StateBody,
    TerminatedBody,
    type_of,
)
from meetme.negotiator.negotiation import Claim, Negotiation
from meetme.negotiator.protocol import allowed, step, stranger_answer
from meetme.negotiator.reactions import (
    MAX_ROUNDS,
)
from meetme.negotiator.states import ENDED, LIVE, Device, State
from tests.negotiator import stages as at
from tests.negotiator.stages import AT, TROUBLE, after

S = State
OTHER = UUID(int=5)
SILENCE = Problem("probe_unanswered", "nothing came back", fault=Fault.REMOTE)


# --- glare and refusals -----------------------------------------------------------------------------------------------


def test_the_lower_member_id_survives() -> None:
    rival = Rival(uuid4(), Role.INITIATOR, S.PROPOSED)
    yields = step(None, at.proposal(at.offered(), rival=rival)).negotiation  # alfa proposes to bravo
    assert yields.state is S.HELD
    stays = step(None, at.proposal(at.offered(), rival=rival, peer="zulu")).negotiation
    assert (stays.state, stays.superseded_by) == (S.REFUSED, rival.id)
    body = stays.answers[0].body
    assert isinstance(body, RefuseBody)
    assert body.superseded_by == rival.id


@pytest.mark.parametrize("state", sorted(LIVE - {S.PROPOSED}))
def test_whoever_is_further_along_keeps_the_circuit(state: State) -> None:
    rival = Rival(uuid4(), Role.INITIATOR, state)
    n = step(None, at.proposal(at.offered(), rival=rival)).negotiation
    assert (n.state, n.superseded_by) == (S.REFUSED, None)
    assert n.problem is not None
    assert n.problem.code == "circuit_in_use"


def test_rounds_are_bounded() -> None:
    n = at.proposed()
    for _ in range(MAX_ROUNDS + 1):
        if n.state is S.PROPOSED:
            lacking = replace(at.counter().counter, lacking=None)
            n = after(n, ev.CounterReceived(AT, lacking, at.own("alfa")))
    assert n.state is S.FAILED
    assert n.problem is not None
    assert n.problem.code == "rounds_exhausted"


def test_nothing_new_to_offer_ends_the_rounds_with_the_reason() -> None:
    n = at.offered()
    lacking = ev.CounterReceived(AT, replace(at.counter().counter, lacking=TROUBLE, free_aliases=()), at.own("alfa"))
    again = after(n, lacking)
    assert again.offer is not None
    assert (again.state, again.offer.aliases) == (S.PROPOSED, ()), "there was something to offer before"
    ended = after(again, lacking)
    assert (ended.state, ended.problem) == (S.FAILED, TROUBLE)


def test_more_is_offered_where_others_were_quicker() -> None:
    n = at.offered()
    lacking = replace(at.counter().counter, lacking=TROUBLE)
    wider = after(n, ev.CounterReceived(AT, lacking, at.own("alfa")))
    widest = after(wider, ev.CounterReceived(AT, lacking, at.own("alfa")))
    sizes = [len(n.offer.aliases) for n in (n, wider, widest) if n.offer]
    assert sizes == [1, 9, 65]
    ended = after(widest, ev.CounterReceived(AT, lacking, at.own("alfa")))
    assert (ended.state, ended.problem) == (S.FAILED, TROUBLE), "what was lacking, not how often it was asked for"


def test_an_agreement_that_clashes_by_now_is_not_signed() -> None:
    busy = replace(at.own("alfa"), usage=Usage(held=(at.NET,)), can=Can(unnumbered=False))
    agreement = at.agreement()
    plain = replace(agreement.responder.prefixes[0], alias=at.NET, translator=None)
    wrong = replace(agreement, responder=replace(agreement.responder, prefixes=(plain,)))
    ended = after(at.offered(), ev.HoldReceived(AT, wrong, busy, MemberPolicy()))
    assert ended.state is S.FAILED
    assert ended.problem is not None
    assert ended.problem.code == "agreement_overlap"


# --- what is owed at the end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [at.committed, at.committed_there, at.ready_there, at.confirming, at.active])
def test_what_was_on_the_device_is_owed_a_removal(stage: Callable[[], Negotiation]) -> None:
    n = stage()
    for event in (ev.TerminateAsked(AT), at.terminate(), ev.Deadline(AT), ev.FailedReceived(AT, TROUBLE)):
        if allowed(n, event):
            outcome = step(n, event)
            assert Program(Verb.REMOVE, n.generation + 1) in outcome.effects
            assert outcome.negotiation.device is Device.REMOVING
            assert claims(outcome.negotiation)


def test_terminate_is_answered_when_nothing_is_left() -> None:
    event = at.terminate()
    waiting = step(at.active_there(), event).negotiation
    assert (waiting.answers, waiting.pending) == ((), (event.message,))
    done = after(waiting, ev.Removed(AT))
    assert [(a.to, a.body) for a in done.answers] == [(event.message, TerminatedBody())]
    assert done.state is S.TERMINATED


def says(outcome: Outcome, kind: MessageType) -> list[Send]:
    return [e for e in outcome.effects if isinstance(e, Send) and e.type is kind]


def test_the_peer_hears_that_the_own_device_is_clean() -> None:
    begun = step(at.active(), ev.TerminateAsked(AT))
    (early,) = says(begun, MessageType.TERMINATE)
    assert early.after == UNDO_SECONDS, "first the own side; it mostly takes no time"
    removed = step(begun.negotiation, ev.Removed(AT))
    (late,) = says(removed, MessageType.TERMINATE)
    assert (late.after, late.key) == (0.0, early.key)
    assert late.message != early.message, "it says something else"
    # Who takes it back because the peer has done so has nothing to say but the answer.
    assert not says(step(after(at.active_there(), at.terminate()), ev.Removed(AT)), MessageType.TERMINATE)


def test_nothing_is_free_before_the_peer_is_known_to_be_clean() -> None:
    for stage in (at.active, at.active_there):
        before = claims(stage())
        told = step(stage(), at.terminate(undone=False))
        assert says(told, MessageType.TERMINATE), "it asks until it knows"
        removed = step(told.negotiation, ev.Removed(AT))
        waiting = removed.negotiation
        assert (waiting.state, claims(waiting)) == (S.TERMINATING, before)
        assert [type_of(a.body) for a in waiting.answers] == [MessageType.TERMINATED], "the peer need not wait"
        assert says(removed, MessageType.TERMINATE)
        assert claims(after(waiting, at.terminate(undone=False))) == before
        for heard in (at.terminate(), ev.TerminatedReceived(AT), at.query(S.TERMINATED)):
            assert claims(after(waiting, heard)) == frozenset(), heard
    # The same where the peer was asked instead.
    asked = step(at.active(), at.state(S.TERMINATING))
    assert says(asked, MessageType.TERMINATE)
    assert claims(after(asked.negotiation, ev.Removed(AT))) == claims(at.active())


def test_what_never_was_active_waits_for_no_peer() -> None:
    """Its confirm timer takes it back on the peer's device."""
    n = after(at.ready_there(), at.terminate(undone=False), ev.Removed(AT))
    assert (n.state, claims(n)) == (S.TERMINATED, frozenset())


def test_a_circuit_that_was_given_back_frees_the_rest_a_day_later() -> None:
    n = at.waiting_for_the_peer()
    released = step(n, ev.CircuitReleased(AT + 5))
    assert released.effects == (Wake(ev.QuarantineOver, QUARANTINE_SECONDS),)
    again = step(released.negotiation, ev.CircuitReleased(AT + 50))
    assert again == Outcome(released.negotiation), "giving it back twice makes it no longer"
    day = AT + 5 + QUARANTINE_SECONDS
    assert claims(after(again.negotiation, ev.QuarantineOver(day - 1))) == claims(n)
    over = step(again.negotiation, ev.QuarantineOver(day))
    assert (over.negotiation.state, claims(over.negotiation)) == (S.TERMINATED, frozenset())
    assert Cancel("send:terminate") not in over.effects, "the message is owed for ever"
    # Not before the own device is clean.
    stuck = after(at.terminating(), ev.CircuitReleased(AT), ev.QuarantineOver(AT + QUARANTINE_SECONDS))
    assert (stuck.state, claims(stuck)) == (S.TERMINATING, claims(at.active()))
    assert after(stuck, ev.Removed(AT + QUARANTINE_SECONDS + 9)).state is S.TERMINATED


def test_who_waits_for_committed_hears_of_the_failure() -> None:
    n = at.committed_there()
    failed = after(n, ev.ProbeFailed(AT, TROUBLE))
    assert [(a.to, type_of(a.body)) for a in failed.answers] == [(n.pending[0], MessageType.FAILED)]


def test_an_ended_and_undone_negotiation_claims_nothing() -> None:
    for n in (at.terminated(), after(at.failed(), ev.Removed(AT)), after(at.held(), ev.Deadline(AT))):
        assert n.state in ENDED
        assert claims(n) == frozenset()


def test_what_cannot_be_taken_back_stays_claimed_until_it_is_released() -> None:
    left = after(at.terminating(), ev.TerminatedReceived(AT), ev.Removed(AT, ("ip route del ...",)))
    assert left.state is S.TERMINATED
    assert claims(left)
    released = after(left, ev.ReleaseAsked(AT))
    assert (claims(released), released.left_on_device) == (frozenset(), ())


def test_what_is_claimed_at_each_stage() -> None:
    place = {Claim("port", "r1/eth2"), Claim("circuit", at.CIRCUIT)}
    assert place <= claims(at.proposed())
    assert claimed(at.proposed(), "local") == {at.NET}
    candidates = claimed(at.offered(), "prefix")
    offer = at.offered().offer
    assert offer is not None
    assert candidates == {*offer.aliases, *offer.links}
    assert claims(at.countered()) == frozenset()
    agreement = at.agreement()
    alias, link = agreement.initiator.prefixes[0].alias, agreement.link.initiator
    assert link is not None
    for stage in (at.held, at.committed, at.committed_there, at.confirming, at.active, at.terminating, at.failed):
        assert claimed(stage(), "prefix") == {alias, link.network}
        assert claimed(stage(), "local") == {at.NET}
        assert place <= claims(stage())


def claimed(n: Negotiation, kind: str) -> set[Prefix | None]:
    return {claim.prefix for claim in claims(n) if claim.kind == kind}


def test_what_the_peer_announces_is_claimed_from_the_offer_on() -> None:
    """Two peers with one prefix, both under way: the second one gets an alias, and neither has to begin anew."""
    theirs = ip_network("10.7.0.0/24")
    counter = replace(at.counter(), counter=replace(at.counter().counter, prefixes=(theirs,)))
    first = after(at.proposed(), counter)
    assert theirs in claimed(first, "prefix")
    busy = Usage(held=(at.NET, *(c.prefix for c in claims(first) if c.prefix)))
    second = after(at.proposed(), replace(counter, own=replace(at.own("alfa"), usage=busy)))
    assert second.offer is not None
    assert second.offer.need_alias == (theirs,)
    assert theirs not in claimed(second, "prefix")


def test_a_vlan_of_a_port_is_claimed_apart() -> None:
    tagged = replace(at.held(), attachment=replace(at.PORT, vlan=7))
    assert Claim("port", "r1/eth2.7") in claims(tagged)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (MessageType.TERMINATE, TerminatedBody),
        (MessageType.QUERY, StateBody),
        (MessageType.COMMIT, FailedBody),
        (MessageType.CONFIRM, FailedBody),
    ],
)
def test_a_stranger_is_answered_without_a_trace(kind: MessageType, expected: type) -> None:
    body = stranger_answer(kind)
    assert isinstance(body, expected)
    if isinstance(body, StateBody):
        assert body.state is None


def test_a_first_offer_is_countered_with_what_is_free() -> None:
    body = at.countered().answers[0].body
    assert isinstance(body, CounterBody)
    assert body.counter.prefixes == (at.NET,)
