"""What orders are built on: composers that make circuits, negotiators that agree, and all that can be wrong with both.

Modelled is what a catalog can see of them. A circuit is found by its order's key, and ordering it twice makes one; a
negotiation is over one circuit, begins only where both ends are registered, and ends at both sides or at none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from meetme.catalog.underlay import NEVER_OURS
from meetme.catalog.words import What
from meetme.model.agreement import MemberId
from meetme.model.errors import Conflict, NotFound, Refused

if TYPE_CHECKING:
    from tests.simulation.orders.world import World

OVER = frozenset({"failed", "released", "terminated"})


@dataclass
class Circuit:
    """A circuit, as every composer on its way knows it."""

    id: str
    order: UUID
    ends: tuple[MemberId, MemberId]
    state: str = "held"

    @property
    def there(self) -> bool:
        """Some exchange still has something of it."""
        return self.state not in OVER


@dataclass
class Talk:
    """A negotiation over a circuit, as each of its two negotiators knows it."""

    id: str
    circuit: str
    order: UUID
    ends: tuple[MemberId, MemberId]
    standing: dict[MemberId, str] = field(default_factory=dict)

    def lives(self, member: MemberId) -> bool:
        """Whether that member's negotiator still has something of it."""
        return self.standing.get(member, "terminated") not in OVER

    def other(self, member: MemberId) -> MemberId:
        """The member at the other end."""
        return self.ends[1] if member == self.ends[0] else self.ends[0]


class Ground:
    """All exchanges and all negotiators."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.circuits: dict[UUID, Circuit] = {}
        self.attachments: dict[tuple[MemberId, str], MemberId] = {}
        """Where a circuit lands at a member: the peer it is for."""
        self.talks: dict[str, Talk] = {}
        """By circuit."""
        self.built: set[str] = set()
        """Circuits that were whole at some time."""
        self.agreed: set[tuple[MemberId, str]] = set()
        """Whose negotiation over which circuit was active at some time."""
        self.proven: set[tuple[MemberId, str]] = set()
        """For whom the service over which circuit has answered."""
        self.stuck: set[tuple[What, MemberId]] = set()
        """What refuses to go, of whom."""

    def _strikes(self, kind: str, where: object) -> bool:
        return self._world.strikes(kind, str(where))

    def _soon(self, where: str, low: float, high: float, work: Callable[[], object]) -> None:
        self._world.later(self._world.chance.amount(where, low, high), work)

    # --- circuits -----------------------------------------------------------------------------------------------------

    def circuit(self, order: UUID, id: str | None) -> Circuit | None:
        """By its id, or by the order's key."""
        if id is not None:
            return self.named(id)
        return self.circuits.get(order)

    def named(self, id: str) -> Circuit | None:
        """By its id."""
        return next((circuit for circuit in self.circuits.values() if circuit.id == id), None)

    def order(self, order: UUID, buyer: MemberId, seller: MemberId) -> Circuit:
        """Order one, once for each key. Raises Refused."""
        if order in self.circuits:
            return self.circuits[order]
        name = self._world.label(order)
        if self._strikes("circuit refused", name):
            raise Refused("path_none", "circuit: must have a way")
        circuit = self.circuits[order] = Circuit(f"c-{name}", order, (buyer, seller))
        slow = 70.0 if self._strikes("compose slow", name) else 0.0
        self._soon(name, 0.05 + slow, 1.0 + slow, lambda: self._commit(circuit))
        return circuit

    def _commit(self, circuit: Circuit) -> None:
        if circuit.state != "held":
            return
        if self._strikes("circuit fails", circuit.id):
            self._ends(circuit, "failed")
            return
        circuit.state = "committed"
        slow = self._world.chance.amount(circuit.id, 20, 90) if self._strikes("circuit slow", circuit.id) else 0.0
        self._soon(circuit.id, 0.05 + slow, 2.0 + slow, lambda: self._build(circuit))

    def _build(self, circuit: Circuit) -> None:
        if circuit.state != "committed":
            return
        if self._strikes("circuit fails late", circuit.id):
            self._ends(circuit, "failed")
            return
        circuit.state = "active"
        self.built.add(circuit.id)
        if self._strikes("circuit lost", circuit.id):
            self._soon(circuit.id, 0.1, 30.0, lambda: self.lose(circuit))

    def lose(self, circuit: Circuit) -> None:
        """An exchange fails, and with it what stood."""
        if circuit.there and circuit.state != "releasing":
            self._ends(circuit, "failed")

    def release(self, circuit: Circuit) -> None:
        """Give it back: that takes its time."""
        if not circuit.there or circuit.state == "releasing":
            return
        circuit.state = "releasing"
        slow = 50.0 if self._strikes("release slow", circuit.id) else 0.0
        self._soon(circuit.id, 0.05, 1.0 + slow, lambda: self._released(circuit))

    def _released(self, circuit: Circuit) -> None:
        if (What.CIRCUIT, circuit.ends[0]) in self.stuck:
            self._world.later(1.0, lambda: self._released(circuit))
            return
        self._ends(circuit, "released")

    def _ends(self, circuit: Circuit, state: str) -> None:
        circuit.state = state
        talk = self.talks.get(circuit.id)
        if talk is not None:
            for member in talk.ends:
                self._soon(circuit.id, 1.0, 8.0, lambda m=member: self._over(talk, m, "failed"))  # type: ignore[misc]

    # --- where they land ----------------------------------------------------------------------------------------------

    def end(self, me: MemberId, partner: MemberId, buyer: MemberId, id: str) -> Circuit:
        """The own end of a circuit that the buyer has ordered. Raises Refused where there is none."""
        circuit = self.named(id)
        if circuit is not None and me in circuit.ends and circuit.ends[0] != buyer:
            raise Refused(NEVER_OURS, "circuit: must have been ordered by the buyer")
        if circuit is None or set(circuit.ends) != {me, partner} or not circuit.there:
            raise Refused("circuit_unknown", "circuit: must end at a port of ours")
        return circuit

    def attach(self, me: MemberId, id: str, peer: MemberId) -> None:
        """Register where it lands."""
        self.attachments[me, id] = peer

    def detach(self, me: MemberId, id: str, peer: MemberId) -> None:
        """Forget it, where it is one with `peer`. Raises Conflict while it is used, NotFound."""
        if self.attachments.get((me, id), peer) != peer:
            return
        talk = self.talks.get(id)
        if (talk is not None and talk.lives(me)) or (What.ATTACHMENT, me) in self.stuck:
            raise Conflict("circuit_in_use", "circuit: must not be in use")
        if self.attachments.pop((me, id), None) is None:
            raise NotFound("attachment_unknown", "circuit: must be registered")

    # --- negotiations -------------------------------------------------------------------------------------------------

    def start(self, me: MemberId, order: UUID, id: str, peer: MemberId) -> Talk:
        """Begin one, once for each circuit. Raises Refused."""
        talk = self.talks.get(id)
        if talk is not None and talk.order == order:
            return talk
        if (me, id) not in self.attachments or talk is not None:
            raise Refused("circuit_unknown", "circuit: must be registered, and free")
        talk = self.talks[id] = Talk(f"n-{self._world.label(order)}", id, order, (me, peer), {me: "proposed"})
        self._soon(talk.id, 0.02, 0.5, lambda: self._proposed(talk))
        return talk

    def _proposed(self, talk: Talk) -> None:
        one, other = talk.ends
        if not talk.lives(one):
            return
        circuit = self.named(talk.circuit)
        if self.attachments.get((other, talk.circuit)) != one or circuit is None or circuit.state != "active":
            self._over(talk, one, "failed")
            return
        talk.standing[other] = "negotiating"
        fails = self._strikes("negotiation fails", talk.id)
        slow = self._world.chance.amount(talk.id, 10, 60) if self._strikes("negotiation slow", talk.id) else 0.0
        for member in talk.ends:
            self._soon(talk.id, 0.1 + slow, 2.0 + slow, lambda m=member: self._decide(talk, m, fails=fails))  # type: ignore[misc]
        if not fails and self._strikes("negotiation lost", talk.id):
            self._soon(talk.id, 1.0, 40.0, lambda: self.end_talk(other, talk))

    def _decide(self, talk: Talk, member: MemberId, *, fails: bool) -> None:
        if talk.standing[member] not in ("proposed", "negotiating"):
            return
        if fails or not talk.lives(talk.other(member)):
            self._over(talk, member, "failed")
            return
        talk.standing[member] = "active"
        self.agreed.add((member, talk.circuit))

    def talk(self, me: MemberId, id: str | None) -> Talk | None:
        """The one over a circuit, as far as `me` knows it."""
        talk = self.talks.get(id or "")
        return talk if talk is not None and me in talk.standing else None

    def end_talk(self, me: MemberId, talk: Talk) -> None:
        """One side ends it; the other follows."""
        if not talk.lives(me) or talk.standing[me] == "terminating":
            return
        talk.standing[me] = "terminating"
        slow = 50.0 if self._strikes("end slow", talk.id) else 0.0
        self._soon(talk.id, 0.02, 0.5, lambda: self.end_talk(talk.other(me), talk))
        self._soon(talk.id, 0.1, 1.0 + slow, lambda: self._over(talk, me, "terminated"))

    def _over(self, talk: Talk, member: MemberId, state: str) -> None:
        if not talk.lives(member):
            return
        if (What.NEGOTIATION, member) in self.stuck:
            talk.standing[member] = "terminating"
            self._world.later(1.0, lambda: self._over(talk, member, state))
            return
        talk.standing[member] = state
        other = talk.other(member)
        if talk.lives(other) and talk.standing[other] != "terminating":
            self._soon(talk.id, 0.02, 3.0, lambda: self._over(talk, other, "failed"))

    def verify(self, me: MemberId, id: str) -> None:
        """See whether the service answers. Raises Refused."""
        talk = self.talks.get(id)
        if talk is None or talk.standing.get(me) != "active":
            raise Refused("negotiation_ended", "negotiation: must be active")
        if self._strikes("service silent", talk.id):
            raise Refused("service_unproven", "service: must answer")
        self.proven.add((me, id))

    # --- what is left -------------------------------------------------------------------------------------------------

    def left(self, me: MemberId, order: UUID, *, buyer: bool) -> list[str]:
        """What there is of an order at one of its members."""
        circuit = self.circuits.get(order)
        if circuit is None:
            return []
        talk = self.talks.get(circuit.id)
        found = []
        if talk is not None and talk.lives(me):
            found.append(f"a negotiation that is {talk.standing[me]}")
        if (me, circuit.id) in self.attachments:
            found.append("an attachment")
        if buyer and circuit.there:
            found.append(f"a circuit that is {circuit.state}")
        return found
