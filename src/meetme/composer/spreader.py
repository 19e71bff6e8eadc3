"""The part of a composer that knows the federation: keeps what others say, says what is true here, passes it on.

    spreader = Spreader(trust=..., database=..., client=..., clock=..., describe=..., neighbours=..., ...)
    await spreader.start()          after the migration of `meetme.composer`; takes up what was kept
    asyncio.create_task(spreader.run())
    spreader.nudge()                after every transaction that takes or frees capacity
    spreader.atlas()                what is known, for path computation
    await spreader.receive(raw, member)

What is believed, and what is sent when, is in `book` and `spreading`. Rules of this file:

1. A word that was taken is on disk before the answer that says so. The own word is on disk before anybody gets it.
2. Replicas share the table: each takes up what the others have kept, at the latest when it next compares with anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

import structlog
from sqlalchemy import Connection

from meetme.composer import spread_store, spread_wire
from meetme.composer.advertisement import Advertisement
from meetme.composer.advertisement_wire import Signatures, sign_advertisement
from meetme.composer.book import Book, Notary, Word
from meetme.composer.own import RENEWED, Own, checked, word_of
from meetme.composer.spreading import Documents, Heard, Message, Spreading
from meetme.composer.topology import Atlas
from meetme.ixapi.orders import ExchangeConnection
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, Forbidden, MeetMeError, Problem, Refused, Unreachable
from meetme.model.members import Member, MemberKind, Roster
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database, lock_until_commit
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.peer_figures import PeerFigures, Way
from meetme.runtime.tls import Trust

HANDLE_PATH = "/api/v1/handle_advertisement"
SERVICE = "composer"
LEAST_SECONDS = 1.0
"""Between two words of the same exchange: what changes in between goes with the next one."""
LOOK_SECONDS = 60.0
"""Between two looks at the exchange's own list of connections."""
FAILED_SECONDS = 5.0
"""Until what went wrong here (the database, a setting) is tried again."""
DRAW_SECONDS = 0.001
"""For each exchange: how long a map is used although something has changed since."""
IN_THREAD = 4
"""Messages with more documents than that are looked at in a thread: each takes milliseconds."""


class Spreader:
    """One composer's knowledge of the federation. `database` and `client` stay their owner's to close."""

    def __init__(
        self,
        *,
        trust: Trust,
        database: Database,
        client: PeerClient,
        clock: Clock,
        describe: Callable[[Connection], Own],
        neighbours: Collection[MemberId],
        every: float,
        lifetime: float,
        look: Callable[[], Awaitable[Sequence[ExchangeConnection]]] | None = None,
        figures: PeerFigures | None = None,
        notary: Notary | None = None,
    ) -> None:
        """`describe`: what the settings and the ledger say of the exchange, in one transaction.

        `every`: seconds between two comparisons with each of the `neighbours`. `lifetime`: seconds that an own word is
        good. `look`: the exchange's own list of connections (`Exchange.connections`).
        """
        self.me = trust.identity.member
        self.book = Book(self.me)
        self._trust = trust
        self._database = database
        self._client = client
        self._clock = clock
        self._describe = describe
        self._look = look
        self._every = every
        self._lifetime = lifetime
        self._figures = figures or PeerFigures()
        self.spreading = Spreading(self.book, notary or Signatures(), every=every)
        self._neighbours = tuple(neighbours)
        self._connections: tuple[ExchangeConnection, ...] | None = None
        self._looked_at = float("-inf")
        self._issue_at = 0.0
        self._reload_at = 0.0
        self._failing = False
        self._lock = asyncio.Lock()
        self._awake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._roster: tuple[Roster, Mapping[str, Member]] | None = None
        self._said: tuple[Advertisement, ...] = ()
        self._atlas: Atlas | None = None
        self._drawn_from: tuple[Advertisement, ...] = ()
        self._drawn_at = float("-inf")
        self._log = structlog.get_logger()

    # --- for the others in the room -----------------------------------------------------------------------------------

    def atlas(self) -> Atlas:
        """What is known now: the same object until something changes.

        In a large federation something changes all the time, and to draw the map anew takes a while: there it may be a
        little old. What is held on the way is looked at by those whose it is.
        """
        now, at = self._clock.now(), self._clock.monotonic()
        old = self._atlas is None or self._atlas.until <= now
        if old or (self._drawn_from is not self._said and at - self._drawn_at >= DRAW_SECONDS * len(self._said)):
            self._drawn_from, self._drawn_at = self._said, at
            self._atlas = Atlas(self._said, now)
        assert self._atlas is not None
        return self._atlas

    def nudge(self) -> None:
        """Capacity was taken or freed here, or a setting has changed: what is told may have to change too."""
        self._issue_at = min(self._issue_at, self._clock.now() + LEAST_SECONDS)
        self._awake.set()

    def members(self) -> Mapping[str, Member]:
        """The roster by id; the same object as long as it does not change."""
        roster = self._trust.roster
        if self._roster is None or self._roster[0] is not roster:
            own = Member(self.me, MemberKind.IXP, (self._trust.identity.pin,), (self._trust.identity.certificate,))
            known: dict[str, Member] = {member.id: member for member in roster.members}
            self._roster = roster, {**known, self.me: own}
        return self._roster[1]

    async def start(self) -> None:
        """Take up what was kept, and say the own word. Raises what the database raises, InvalidInput, TooLarge."""
        await self._reload()
        await self._issue()
        self.spreading.meet(self._neighbours, self._clock.now())

    async def run(self) -> None:
        """Compare and pass on until cancelled."""
        try:
            while True:
                self._awake.clear()
                await self._turn()
                now = self._clock.now()
                wait = min(self.spreading.next_due(), self._issue_at, self._reload_at) - now
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.01, min(wait, self._every))):
                        await self._awake.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def receive(self, raw: str, sender: Member) -> str:
        """Handle a message of `sender`, whose certificate was checked: the answer (JSON).

        Raises what `spread_wire.read` raises, Forbidden `not_an_exchange`, Refused `advertisements_too_many`.
        """
        with self._figures.exchange(Way.RECEIVED) as exchange:
            if sender.kind is not MemberKind.IXP:
                raise Forbidden(
                    "not_an_exchange",
                    f"member: must be an exchange to pass on what exchanges say ('{sender.id}')",
                    fault=Fault.REMOTE,
                )
            message = spread_wire.read(raw, self.me, sender.id, self._clock.now())
            exchange.type = spread_wire.type_of(message.body)
            heard = await self._hear(self.spreading.receive, sender.id, message.body)
            if heard.answer is None:
                raise _too_many(heard.problems)
            return spread_wire.write(heard.answer, self.me, sender.id, self._clock.now())

    # --- turns --------------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        now = self._clock.now()
        try:
            if self._reload_at <= now:
                await self._reload()
            if self._issue_at <= now or (self.book.outrun >= self._version() and not self._failing):
                await self._issue()
            self._failing = False
        except MeetMeError as error:
            # What others know of us stands until it expires; what they say is still passed on.
            self._log.error("the own advertisement cannot be kept up", problem=error.text, code=error.code)
            self._failing = True
            self._reload_at = self._issue_at = now + FAILED_SECONDS
        async with self._lock:
            due = list(self.spreading.due(self._clock.now()))
        for name, message in due:
            task = asyncio.create_task(self._talk(name, message), name=f"advertisements to {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _talk(self, name: MemberId, message: Message) -> None:
        """One exchange with a neighbour, to its end."""
        following: Message | None = message
        try:
            while following is not None:
                answer = await self._ask(name, following)
                heard = await self._hear(self.spreading.answered, name, answer)
                following = heard.answer
        except MeetMeError as error:
            self._failed(name, error.text)
        except BaseException:
            self._failed(name, "the exchange was cut short")
            raise
        finally:
            self._awake.set()

    def _failed(self, name: MemberId, problem: str) -> None:
        neighbour = self.spreading.neighbours.get(name)
        if neighbour is not None and not neighbour.failures:
            self._log.warning("a neighbour is not told what is known here", peer=name, problem=problem)
        self.spreading.failed(name, problem, self._clock.now())

    async def _ask(self, name: MemberId, message: Message) -> Message:
        with self._figures.exchange(Way.SENT, spread_wire.type_of(message), name):
            said = spread_wire.write(message, self.me, name, self._clock.now())
            answer = await self._client.post_text(name, SERVICE, HANDLE_PATH, said)
            if not isinstance(answer.document, dict):
                raise Unreachable("peer_answer_malformed", f"peer '{name}': must answer with a message (nothing came)")
            return spread_wire.read(answer.document, self.me, name, self._clock.now()).body

    async def _hear(
        self,
        what: Callable[[MemberId, Message, float, Mapping[str, Member]], Heard],
        name: MemberId,
        message: Message,
    ) -> Heard:
        """Let the rules look at a message, and keep what they take."""
        async with self._lock:
            facts = (name, message, self._clock.now(), self.members())
            if isinstance(message, Documents) and len(message.documents) > IN_THREAD:
                heard = await asyncio.to_thread(what, *facts)
            else:
                heard = what(*facts)
            if heard.taken:
                await self._database.run(lambda tx: spread_store.save(tx, heard.taken))
                self._changed()
        for problem in heard.problems:
            self._log.info("an advertisement was refused", peer=name, code=problem.code, problem=problem.text)
        for word in heard.taken:
            self._log.debug("an advertisement was taken", peer=name, member=word.member, version=word.mark.version)
        if heard.taken:
            self._awake.set()
        return heard

    def _changed(self) -> None:
        """The book says something else. Under the lock: else a thread may be writing in it."""
        self._said = self.book.advertisements()

    # --- the own word -------------------------------------------------------------------------------------------------

    async def _issue(self) -> None:
        """Say anew what has changed or grown old, and when to look again."""
        now = self._clock.now()
        if self._look is not None and now - self._looked_at >= min(LOOK_SECONDS, self._every):
            self._looked_at = now
            try:
                self._connections = tuple(await self._look())
            except MeetMeError as error:
                # What it said last stands: an exchange whose API is away still forwards.
                self._log.warning("the exchange does not list its connections", problem=error.text)
        word = await self._database.run(self._next_word)
        async with self._lock:
            if word is not None:
                self.spreading.publish(word, now)
                self._changed()
                self._log.info("own advertisement", version=word.mark.version, octets=len(word.document))
        pause = self._lifetime / RENEWED
        self._issue_at = now + (min(pause, LOOK_SECONDS) if self._look is not None else pause)

    def _next_word(self, tx: Connection) -> Word | None:
        lock_until_commit(tx, "composer advertisements")
        kept = spread_store.load(tx, (self.me,))
        known = self.book.word(self.me)
        floor = self.book.outrun + 1 if self.book.outrun else 0
        if kept and (known is None or known.mark < kept[0].mark):
            # Another replica has said it in the meantime.
            known = self._read(kept[0].document)
            floor = max(floor, kept[0].mark.version)
        own = self._describe(tx)
        if self._connections is not None:
            own = checked(own, self._connections)
        said = known.advertisement if known is not None else None
        ad = word_of(self.me, own, said, floor=floor, now=self._clock.now(), lifetime=self._lifetime)
        if ad is None:
            return known if known is not self.book.word(self.me) else None
        word = self._sign(ad)
        spread_store.save(tx, (word,))
        return word

    def _sign(self, ad: Advertisement) -> Word:
        return Signatures().read(sign_advertisement(ad, self._trust.identity))

    def _version(self) -> int:
        known = self.book.word(self.me)
        return known.mark.version if known is not None else 0

    @staticmethod
    def _read(document: str) -> Word | None:
        try:
            return Signatures().read(document)
        except MeetMeError:  # written by an older version of ours
            return None

    # --- what is kept -------------------------------------------------------------------------------------------------

    async def _reload(self) -> None:
        """Take up what is kept and not known here: after a start all of it, later what other replicas brought."""
        now, members = self._clock.now(), self.members()
        self._reload_at = now + self._every
        async with self._lock:
            gone = self.book.forget(now, members)
            marks = await self._database.read(spread_store.marks)
            strangers = [member for member in marks if member not in members]
            news = [
                member
                for member, mark in marks.items()
                if member in members and ((known := self.book.mark(member)) is None or known < mark)
            ]
            rows = await self._database.run(lambda tx: self._rows(tx, news, strangers))
            for row in rows:
                # It was looked at before it was kept. The signature counts again all the same: keys change.
                self.book.remember(row.member, row.mark)
                word = self._read(row.document) if row.expires > now else None
                if word is not None and self._is_genuine(word, members[row.member]):
                    self.book.take(word)
            if gone or rows:
                self._changed()
        for member in gone:
            self._log.info("an advertisement has expired", member=member)

    @staticmethod
    def _rows(tx: Connection, news: Collection[str], strangers: Collection[str]) -> list[spread_store.Stored]:
        spread_store.forget(tx, strangers)
        return spread_store.load(tx, news) if news else []

    @staticmethod
    def _is_genuine(word: Word, member: Member) -> bool:
        return Signatures().is_genuine(word, member)


def _too_many(problems: Sequence[Problem]) -> Refused:
    first = problems[0]
    return Refused(first.code, first.text, hint=first.hint, fault=first.fault)
