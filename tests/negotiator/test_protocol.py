"""The table of the protocol, row by row and target by target, and what holds in all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import get_args
from uuid import UUID

import pytest

from meetme.model.agreement import Role
from meetme.model.errors import Fault, Problem
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator.endings import QUARANTINE_SECONDS
from meetme.negotiator.events import Event
from meetme.negotiator.messages import (
    Verified,
)
from meetme.negotiator.negotiation import Health, HealthState, Negotiation, Wish
from meetme.negotiator.protocol import ONLY, TRANSITIONS, allowed, step
from meetme.negotiator.reactions import (
    COMMIT_SECONDS,
    HOLD_SECONDS,
    MAX_ROUNDS,
)
from meetme.negotiator.states import ENDED, LIVE, State
from tests.negotiator import stages as at
from tests.negotiator.stages import AT, PROBED, TROUBLE, after

S = State
OTHER = UUID(int=5)
SILENCE = Problem("probe_unanswered", "nothing came back", fault=Fault.REMOTE)
Case = tuple[Callable[[], Negotiation] | None, Callable[[], Event], State]


def refusing() -> MemberPolicy:
    return MemberPolicy(announce=(ip_network("198.51.100.0/24"),))


def rounds_used_up() -> Negotiation:
    return replace(at.offered(), round=MAX_ROUNDS)


def waiting_for_the_device() -> Negotiation:
    return after(at.terminating(), ev.TerminatedReceived(AT))


def circuit_gone() -> Negotiation:
    return after(at.waiting_for_the_peer(), ev.CircuitReleased(AT))


def withdrawn() -> Negotiation:
    """Taken back before anything was on a device."""
    return after(at.proposed(), ev.TerminateAsked(AT))


CASES: list[Case] = [
    (None, at.start, S.PROPOSED),
    (None, lambda: at.start(replace(at.own("alfa"), prefixes=())), S.FAILED),
    (None, lambda: at.proposal(at.proposed()), S.PROPOSED),
    (None, lambda: at.proposal(at.offered()), S.HELD),
    (None, lambda: at.proposal(at.proposed(), policy=refusing()), S.REFUSED),
    (None, at.restored, S.ACTIVE),
    (at.countered, lambda: at.proposal(at.proposed()), S.PROPOSED),
    (at.countered, lambda: at.proposal(at.offered()), S.HELD),
    (at.countered, lambda: at.proposal(at.offered(), policy=refusing()), S.REFUSED),
    (at.proposed, at.counter, S.PROPOSED),
    (rounds_used_up, at.counter, S.FAILED),
    (at.offered, at.hold, S.COMMITTED),
    (at.offered, lambda: replace(at.hold(), agreement=replace(at.agreement(), mtu=9000)), S.FAILED),
    (at.proposed, lambda: ev.RefuseReceived(AT, (TROUBLE,)), S.REFUSED),
    (at.proposed, lambda: ev.RefuseReceived(AT, (TROUBLE,), OTHER), S.SUPERSEDED),
    (at.proposed, lambda: ev.Superseded(AT, OTHER), S.SUPERSEDED),
    (at.proposed, lambda: ev.Deadline(AT), S.FAILED),
    (at.held, at.commit, S.COMMITTED),
    (at.held, lambda: replace(at.commit(), agreement=replace(at.agreement(), mtu=1400)), S.HELD),
    (at.held, lambda: replace(at.commit(), at=AT + HOLD_SECONDS), S.FAILED),
    (at.held, lambda: ev.Deadline(AT), S.FAILED),
    (at.committed, lambda: ev.Applied(AT), S.COMMITTED),
    (at.committed, lambda: ev.ApplyFailed(AT, TROUBLE), S.FAILED),
    (at.committed, lambda: ev.DeviceAhead(AT, 99), S.COMMITTED),
    (at.committed, lambda: PROBED, S.COMMITTED),
    (lambda: after(at.committed(), ev.CommittedReceived(AT, None)), lambda: PROBED, S.CONFIRMING),
    (lambda: after(at.committed(), ev.CommittedReceived(AT, None)), lambda: ev.Probed(AT, None), S.FAILED),
    (at.committed, lambda: ev.ProbeFailed(AT, TROUBLE), S.FAILED),
    (at.committed, lambda: ev.ProbeFailed(AT, SILENCE), S.COMMITTED),
    (at.committed, lambda: ev.ProbeFailed(AT + COMMIT_SECONDS - 0.4, SILENCE), S.FAILED),
    (at.committed, lambda: ev.CommittedReceived(AT, Verified.PATH), S.COMMITTED),
    (lambda: after(at.committed(), PROBED), lambda: ev.CommittedReceived(AT, None), S.CONFIRMING),
    (lambda: after(at.committed(), PROBED), lambda: ev.CommittedReceived(AT + COMMIT_SECONDS, None), S.FAILED),
    (at.committed, lambda: ev.FailedReceived(AT, TROUBLE), S.FAILED),
    (at.ready_there, at.confirm, S.ACTIVE),
    (at.committed_there, at.confirm, S.FAILED),
    (at.committed, lambda: ev.Deadline(AT), S.FAILED),
    (at.confirming, lambda: ev.ActiveReceived(AT), S.ACTIVE),
    (at.confirming, lambda: ev.FailedReceived(AT, TROUBLE), S.FAILED),
    (at.confirming, lambda: at.state(S.COMMITTED), S.CONFIRMING),
    (at.confirming, lambda: at.state(S.ACTIVE), S.ACTIVE),
    (at.confirming, lambda: at.state(None), S.FAILED),
    (at.confirming, lambda: at.state(S.TERMINATED), S.TERMINATING),
    (at.confirming, lambda: at.query(S.COMMITTED), S.CONFIRMING),
    (at.confirming, lambda: at.query(S.ACTIVE), S.ACTIVE),
    (at.confirming, lambda: at.query(S.FAILED), S.FAILED),
    (at.confirming, lambda: at.query(S.TERMINATING), S.TERMINATING),
    (at.confirming, lambda: ev.DeviceConfirmed(AT), S.CONFIRMING),
    (at.confirming, lambda: ev.DeviceLost(AT), S.CONFIRMING),
    (at.confirming, lambda: ev.DeviceAhead(AT, 99), S.CONFIRMING),
    (at.confirming, lambda: ev.Applied(AT), S.CONFIRMING),
    (at.confirming, lambda: ev.ApplyFailed(AT, TROUBLE), S.CONFIRMING),
    (at.confirming, lambda: ev.CompareDue(AT), S.CONFIRMING),
    (at.active, lambda: ev.DeviceConfirmed(AT), S.ACTIVE),
    (at.active, lambda: ev.DeviceLost(AT), S.ACTIVE),
    (at.active, lambda: ev.DeviceAhead(AT, 99), S.ACTIVE),
    (at.active, lambda: ev.Applied(AT), S.ACTIVE),
    (at.active, lambda: ev.ApplyFailed(AT, TROUBLE), S.ACTIVE),
    (at.active, lambda: ev.HealthTurned(AT, Health(HealthState.DOWN, None, 1.0)), S.ACTIVE),
    (at.active, lambda: ev.CompareDue(AT), S.ACTIVE),
    (at.active, lambda: at.state(None), S.ACTIVE),
    (at.active, lambda: at.state(S.FAILED), S.TERMINATING),
    (at.active, lambda: at.query(S.CONFIRMING), S.ACTIVE),
    (at.active_there, lambda: at.query(S.TERMINATED), S.TERMINATING),
    (at.proposed, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.held, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.committed, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.confirming, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.active, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.countered, at.terminate, S.TERMINATED),
    (at.held, at.terminate, S.TERMINATED),
    (at.committed, at.terminate, S.TERMINATING),
    (at.confirming, at.terminate, S.TERMINATING),
    (at.active_there, at.terminate, S.TERMINATING),
    (at.terminating, at.terminate, S.TERMINATING),
    (at.waiting_for_the_peer, at.terminate, S.TERMINATED),
    (at.terminating, lambda: ev.TerminatedReceived(AT), S.TERMINATING),
    (at.waiting_for_the_peer, lambda: ev.TerminatedReceived(AT), S.TERMINATED),
    (at.terminating, lambda: ev.DeviceAhead(AT, 99), S.TERMINATING),
    (at.terminating, lambda: ev.Removed(AT), S.TERMINATING),
    (waiting_for_the_device, lambda: ev.Removed(AT), S.TERMINATED),
    (at.terminating, lambda: at.query(S.ACTIVE), S.TERMINATING),
    (at.waiting_for_the_peer, lambda: at.query(S.TERMINATED), S.TERMINATED),
    (at.waiting_for_the_peer, lambda: ev.CircuitReleased(AT), S.TERMINATING),
    (circuit_gone, lambda: ev.QuarantineOver(AT + QUARANTINE_SECONDS - 1), S.TERMINATING),
    (circuit_gone, lambda: ev.QuarantineOver(AT + QUARANTINE_SECONDS), S.TERMINATED),
    (withdrawn, lambda: ev.Deadline(AT), S.TERMINATED),
    (at.terminating, lambda: ev.ReleaseAsked(AT), S.TERMINATING),
    (at.waiting_for_the_peer, lambda: ev.ReleaseAsked(AT), S.TERMINATED),
    (at.failed, lambda: ev.DeviceAhead(AT, 99), S.FAILED),
    (at.failed, lambda: ev.Removed(AT), S.FAILED),
    (at.failed, lambda: ev.TerminatedReceived(AT), S.FAILED),
    (at.failed, lambda: ev.Deadline(AT), S.FAILED),
    (at.failed, at.terminate, S.FAILED),
    (at.failed, lambda: ev.ReleaseAsked(AT), S.FAILED),
    (at.terminated, lambda: ev.TerminatedReceived(AT), S.TERMINATED),
    (at.terminated, lambda: ev.ReleaseAsked(AT), S.TERMINATED),
    (at.active, lambda: ev.ChangeAsked(AT, Wish(mtu=1400), replace(at.own("alfa"), mtu=1400)), S.ACTIVE),
    (at.active, lambda: ev.ChangeWanted(AT, at.message(), at.own("alfa")), S.ACTIVE),
    (at.active, lambda: ev.ChangeDue(AT, at.own("alfa")), S.ACTIVE),
    (at.active_there, lambda: ev.ChangeRefused(AT, (TROUBLE,)), S.ACTIVE),
    (at.active, lambda: ev.OfChange(1, at.terminate()), S.ACTIVE),
]


def made(case: Case) -> tuple[Negotiation | None, Event, State]:
    before, event, target = case
    return (before() if before else None), event(), target


@pytest.mark.parametrize("case", CASES, ids=lambda c: "")
def test_a_row_of_the_table(case: Case) -> None:
    before, event, target = made(case)
    result = step(before, event).negotiation
    assert result.state is target
    moved = before is None or before.state is not target
    assert result.revision == (before.revision if before else 0) + moved


def test_every_row_and_every_target_has_a_case() -> None:
    seen = {(n.state if n else None, type(event), target) for n, event, target in map(made, CASES)}
    rows = {(state, event, target) for (state, event), targets in TRANSITIONS.items() for target in targets}
    assert rows - seen == set()
    assert seen - rows == set()


STAGES = (
    at.proposed, at.offered, at.countered, at.held, at.committed, at.committed_there, at.ready_there, at.confirming,
    at.active, at.active_there, at.terminating, at.waiting_for_the_peer, at.terminated, at.failed,
)  # fmt: skip
EVENTS: dict[type[Event], Event] = {type(event): event for _, event, _ in map(made, CASES)}


def test_there_is_an_event_of_every_kind() -> None:
    assert set(EVENTS) == set(get_args(Event))


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.__name__)
def test_what_the_table_does_not_allow_changes_nothing(stage: Callable[[], Negotiation]) -> None:
    n = replace(stage(), answers=())
    for event in EVENTS.values():
        if not allowed(n, event):
            outcome = step(n, event)
            assert replace(outcome.negotiation, answers=()) == n
            assert outcome.effects == ()
            answers = outcome.negotiation.answers
            inner = event.event if isinstance(event, ev.OfChange) else event
            assert [a.to for a in answers] == ([inner.message] if hasattr(inner, "message") else [])


@pytest.mark.parametrize("event", [e for e in EVENTS.values() if (None, type(e)) not in TRANSITIONS])
def test_what_cannot_begin_a_negotiation_is_an_error(event: Event) -> None:
    with pytest.raises(LookupError):
        step(None, event)


def test_only_the_right_role_takes_an_event() -> None:
    assert not allowed(at.committed(), at.confirm())
    assert not allowed(at.committed_there(), ev.CommittedReceived(AT, None))
    assert not allowed(at.proposed(), at.proposal(at.offered()))
    assert set(ONLY.values()) == set(Role)


def test_the_states_are_live_or_ended() -> None:
    assert set(State) == LIVE | ENDED
    assert not {state for state, _ in TRANSITIONS} & {S.REFUSED, S.SUPERSEDED}
