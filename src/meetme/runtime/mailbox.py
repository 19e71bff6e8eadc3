"""The messages that one room has received from other members, and the answers that each of them got.

Rules of this file:

1. A message is written down as it came, before it is answered, in the transaction that acts on it.
2. A message that is known gets the stored answer again, whatever has happened since.
3. An answer is kept longer than its message is good: a repetition that is older still is refused as expired.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, Connection, Double, MetaData, Table, Text, bindparam, delete, insert, select, update

from meetme.runtime.database import Database
from meetme.runtime.sse import Bell

ANSWER_SECONDS = 5.0
"""How long an answer may take; then the other side is told to ask again."""
KEPT_SECONDS = 3600.0
"""How much longer than a message is good its answer is kept."""


@dataclass(frozen=True, slots=True)
class Known:
    """A message that was received before, and its answer, once there is one."""

    about: UUID
    answer: str | None


class Mailbox:
    """The table `<room>_message`. `subject`: the column that says what a message is about."""

    def __init__(self, room: str, subject: str, metadata: MetaData) -> None:
        self.table = Table(
            f"{room}_message",
            metadata,
            Column("sender", Text, primary_key=True),
            Column("message", Text, primary_key=True),
            Column(subject, Text, nullable=False),
            Column("received", Double, nullable=False),
            Column("expires", Double, nullable=False),
            Column("body", Text, nullable=False),
            Column("answer", Text),
        )
        self._subject = subject
        columns = self.table.c
        one = (columns.sender == bindparam("who")) & (columns.message == bindparam("which"))
        # Built once: building a statement takes longer than running it.
        self._known = select(columns[subject], columns.answer).where(one)
        self._add = insert(self.table)
        self._answer = update(self.table).where(one).values(answer=bindparam("text"))

    def known(self, tx: Connection, sender: str, message: UUID) -> Known | None:
        """What is known of a message; None: it is new."""
        row = tx.execute(self._known, {"who": sender, "which": str(message)}).one_or_none()
        return None if row is None else Known(UUID(row[0]), row[1])

    def put(
        self, tx: Connection, sender: str, message: UUID, about: UUID, *, body: str, expires: float, now: float
    ) -> None:
        """Write down a message as it came, before it is answered."""
        tx.execute(
            self._add,
            {
                "sender": sender,
                "message": str(message),
                self._subject: str(about),
                "received": now,
                "expires": expires,
                "body": body,
            },
        )

    def answer(self, tx: Connection, sender: str, message: UUID, answer: str) -> None:
        """Keep the answer to a message, for the one who waits and for every repetition."""
        tx.execute(self._answer, {"who": sender, "which": str(message), "text": answer})

    async def answered(
        self, database: Database, bell: Bell, about: UUID, sender: str, message: UUID, rung: asyncio.Event
    ) -> str | None:
        """The answer as soon as it is kept; None: not within ANSWER_SECONDS.

        `rung`: what the bell gave for `about` before the message was handled.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    await rung.wait()
                    rung = bell.listen(str(about))
                    known = await database.read(lambda tx: self.known(tx, sender, message))
                    if known is not None and known.answer is not None:
                        return known.answer
        except TimeoutError:
            return None

    def purge(self, tx: Connection, now: float) -> int:
        """Forget answered messages whose repetition would be refused as expired; how many went."""
        columns = self.table.c
        old = delete(self.table).where(columns.expires < now - KEPT_SECONDS, columns.answer.is_not(None))
        return tx.execute(old).rowcount
