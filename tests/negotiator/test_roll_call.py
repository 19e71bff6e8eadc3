"""Two members compare what is active between them: one message for all of it, and questions where it differs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import pytest

from meetme.model.agreement import MemberId, Role
from meetme.model.errors import Fault, Forbidden, InvalidInput, MeetMeError, NotFound, Stale, Unreachable
from meetme.negotiator import events as ev
from meetme.negotiator import store, wire
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.roll import Listed, Roll
from meetme.negotiator.roll_call import RollCall
from meetme.negotiator.states import State
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database, migrate
from tests.negotiator import values

ALFA, BRAVO = MemberId("csp-a"), MemberId("csp-b")
NOW = 1000.0


class At(SystemClock):
    """It is always the same time."""

    def now(self) -> float:
        return NOW


@dataclass
class Side:
    """One member: its store, and what its negotiations hear."""

    me: MemberId
    database: Database
    way: Way
    heard: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rolls = RollCall(self.database, self.way, self._deliver, self.me, At())

    async def _deliver(self, instance: str, event: ev.CompareDue) -> None:
        assert event.at == NOW
        self.heard.append(UUID(instance))

    def holds(self, *negotiations: Negotiation) -> None:
        def write(tx) -> None:
            for n in negotiations:
                store.save(tx, n, new=True)

        self.database.run_now(write)


@dataclass
class Way:
    """From one to the other."""

    to: Side | None = None
    me: MemberId = ALFA
    sent: list[Roll] = field(default_factory=list)
    trouble: MeetMeError | None = None
    twist: Callable[[dict], object] = lambda answer: answer

    async def compare(self, peer: MemberId, roll: Roll) -> object:
        assert self.to is not None
        assert peer == self.to.me
        self.sent.append(roll)
        if self.trouble is not None:
            raise self.trouble
        return self.twist(json.loads(await self.to.rolls.answer(json.dumps(wire.roll_json(roll)), self.me)))


@pytest.fixture
def sides(database_url: str) -> Iterator[tuple[Side, Side]]:
    databases = [Database.open(database_url), Database.open("sqlite://")]
    for database in databases:
        migrate(database, "meetme.runtime")
        migrate(database, "meetme.negotiator")
    a = Side(ALFA, databases[0], Way(me=ALFA))
    b = Side(BRAVO, databases[1], Way(me=BRAVO))
    a.way.to, b.way.to = b, a
    yield a, b
    for database in databases:
        database.close_now()


def both(number: int, revision: int = 1) -> tuple[Negotiation, Negotiation]:
    """An active agreement as each side has it."""
    n = values.negotiated(number)
    assert n.agreement is not None
    n = replace(
        n,
        id=uuid4(),
        state=State.ACTIVE,
        me=ALFA,
        peer=BRAVO,
        role=Role.INITIATOR,
        agreement=replace(n.agreement, revision=revision),
    )
    return n, replace(n, me=BRAVO, peer=ALFA, role=Role.RESPONDER)


async def test_what_is_alike_costs_one_message_and_no_question(sides: tuple[Side, Side]) -> None:
    a, b = sides
    pairs = [both(i % 9, revision=1 + i % 3) for i in range(wire.LISTED_AT_MOST + 100)]
    a.holds(*(mine for mine, _ in pairs))
    b.holds(*(theirs for _, theirs in pairs))
    for side in sides:
        await side.rolls.call()
        assert side.heard == []
        assert [len(roll.agreements) for roll in side.way.sent] == [wire.LISTED_AT_MOST, 100]


async def test_what_differs_is_asked_about_and_nothing_else(sides: tuple[Side, Side]) -> None:
    a, b = sides
    same, older, missing, ending = both(1), both(2, revision=2), both(3), both(4)
    open_, unsettled_there = both(5), both(6)
    a.holds(same[0], older[0], missing[0], ending[0], replace(open_[0], peer_lost=True), unsettled_there[0])
    assert older[1].agreement is not None
    b.holds(
        same[1],
        replace(older[1], agreement=replace(older[1].agreement, revision=1)),
        replace(ending[1], state=State.TERMINATING),
        open_[1],
        replace(unsettled_there[1], peer_wants=True),
    )
    await a.rolls.call()
    assert set(a.heard) == {n.id for n in (older[0], missing[0], ending[0], open_[0], unsettled_there[0])}
    assert len(a.heard) == len(set(a.heard))
    await b.rolls.call()
    assert set(b.heard) == {older[0].id, open_[0].id, unsettled_there[0].id}


async def test_who_cannot_be_reached_is_compared_with_later(sides: tuple[Side, Side]) -> None:
    a, _ = sides
    settled, unsettled = both(1), both(2)
    a.holds(settled[0], replace(unsettled[0], peer_wants=True))
    a.way.trouble = Unreachable("peer_unreachable", "peer: must be reachable")
    assert a.rolls.owed(settled[0]) is None
    await a.rolls.call()
    await a.rolls.call()
    assert a.heard == [unsettled[0].id] * 2
    missed = a.rolls.owed(settled[0])
    assert missed is not None
    assert (missed.what, missed.attempts) == ("compare", 2)
    assert missed.note == "peer_unreachable: peer: must be reachable"
    assert a.rolls.owed(replace(settled[0], state=State.TERMINATING)) is None, "that is told another way"
    assert a.rolls.owed(replace(settled[0], peer=MemberId("csp-c"))) is None
    a.way.trouble = None
    await a.rolls.call()
    assert a.rolls.owed(settled[0]) is None


async def test_who_did_not_answer_is_called_more_often(sides: tuple[Side, Side]) -> None:
    a, _ = sides
    a.holds(both(1)[0])
    a.rolls = RollCall(a.database, a.way, a._deliver, a.me, At(), every=3600.0)
    a.rolls._again = 0.01
    a.way.trouble = Unreachable("peer_unreachable", "peer: must be reachable")
    task = asyncio.create_task(a.rolls.run())
    async with asyncio.timeout(10):
        while len(a.way.sent) < 3:  # noqa: ASYNC110 - it is in memory
            await asyncio.sleep(0.01)
        a.way.trouble = None
        while not a.heard:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    sent = len(a.way.sent)
    await asyncio.sleep(0.2)
    assert len(a.way.sent) == sent, "who has answered has time again"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_knows_no_rolls_is_asked_one_by_one(sides: tuple[Side, Side]) -> None:
    a, _ = sides
    mine = [both(i)[0] for i in range(3)]
    a.holds(*mine)
    a.way.trouble = NotFound("route_unknown", "path: must exist")
    await a.rolls.call()
    assert set(a.heard) == {n.id for n in mine}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"version": 1},
        {"version": 2, "from": "csp-b", "to": "csp-a", "differ": []},
        {"version": 1, "from": "csp-b", "to": "csp-a", "differ": ["x"]},
    ],
)
async def test_an_answer_that_is_none_changes_nothing(sides: tuple[Side, Side], answer: object) -> None:
    a, _ = sides
    a.holds(both(1)[0])
    a.way.twist = lambda _: answer
    await a.rolls.call()
    assert a.heard == []


async def test_what_a_peer_says_of_others_is_not_heard(sides: tuple[Side, Side]) -> None:
    a, b = sides
    mine, theirs = both(1)
    elsewhere = replace(both(2)[0], peer=MemberId("csp-c"), state=State.TERMINATING)
    a.holds(mine, elsewhere)
    b.holds(theirs)
    a.way.twist = lambda answer: {**answer, "differ": [str(elsewhere.id), str(uuid4())]}
    await a.rolls.call()
    assert a.heard == []


async def test_nobody_learns_what_others_have(sides: tuple[Side, Side]) -> None:
    """A stranger that guesses an id hears of it what it would hear of one that does not exist."""
    a, _ = sides
    mine, _ = both(1)
    a.holds(mine)
    assert mine.agreement is not None
    lines = (Listed(mine.id, mine.agreement.revision, 0), Listed(uuid4(), 1, 0))
    told = await a.rolls.answer(
        json.dumps(wire.roll_json(Roll(MemberId("csp-c"), ALFA, NOW, lines))), MemberId("csp-c")
    )
    assert wire.read_roll_answer(json.loads(told)).differ == tuple(line.negotiation for line in lines)


async def test_a_roll_is_believed_under_its_own_certificate_for_its_own_time(sides: tuple[Side, Side]) -> None:
    a, _ = sides
    roll = Roll(BRAVO, ALFA, NOW + 30, ())
    with pytest.raises(Forbidden) as caught:
        await a.rolls.answer(json.dumps(wire.roll_json(roll)), MemberId("csp-c"))
    assert caught.value.code == "sender_mismatch"
    with pytest.raises(Forbidden) as caught:
        await a.rolls.answer(json.dumps(wire.roll_json(replace(roll, to=BRAVO))), BRAVO)
    assert caught.value.code == "receiver_mismatch"
    with pytest.raises(Stale) as late:
        await a.rolls.answer(json.dumps(wire.roll_json(replace(roll, expires=NOW - 60))), BRAVO)
    assert late.value.code == "message_expired"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "message.version: must be 1 (2)"),
        ({"agreements": None}, "message.agreements: input should be a valid tuple"),
        ({"agreements": [{}]}, "message.agreements.0.negotiation: field required"),
        ({"agreements": [{"negotiation": "x", "revision": 1}]}, "message.agreements.0.negotiation: "),
        ({"agreements": [{"negotiation": str(UUID(int=1)), "revision": 0}]}, "message.agreements.0.revision: "),
        ({"expires": "2026-01-01T00:00:00"}, "message.expires: "),
        ({"from": None}, "message.sender: "),
    ],
)
async def test_what_is_no_roll_is_refused(sides: tuple[Side, Side], change: dict[str, object], said: str) -> None:
    a, _ = sides
    roll = wire.roll_json(Roll(BRAVO, ALFA, NOW, ())) | change
    with pytest.raises(InvalidInput) as caught:
        await a.rolls.answer(json.dumps(roll), BRAVO)
    assert caught.value.problem.text.startswith(said)
    assert caught.value.problem.fault is Fault.REMOTE


async def test_a_roll_has_an_end(sides: tuple[Side, Side]) -> None:
    a, _ = sides
    lines = tuple(Listed(UUID(int=i), 1, 0) for i in range(wire.LISTED_AT_MOST + 1))
    text = json.dumps(wire.roll_json(Roll(BRAVO, ALFA, NOW, lines)))
    with pytest.raises(InvalidInput):
        await a.rolls.answer(text, BRAVO)
    from meetme.runtime.gate import BODY_LIMIT

    assert len(json.dumps(wire.roll_json(Roll(BRAVO, ALFA, NOW, lines[1:])))) < BODY_LIMIT, "a whole one is taken"
