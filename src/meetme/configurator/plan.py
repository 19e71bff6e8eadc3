"""The rules of the configurator: which orders it takes, what it keeps of each circuit, when it tries again. Pure.

What is kept of a circuit is written down before the device is touched, so it always says where the device is going:

    (nothing) --apply--> tentative --confirm--> confirmed --remove--> removing --device is clean--> (nothing)
                             |                      ^ |
                             | deadline             | | apply of a higher revision or generation
                             v                      | v
                   base, or removing            tentative with base = the confirmed intent

The highest generation seen stays known after removal, so that an order that was overtaken on its way is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from meetme.configurator.checks import claims, clash, root_of
from meetme.model.errors import Conflict, NotFound, Stale
from meetme.model.intent import Intent, LinkState
from meetme.model.segment import SegmentEnd, TunnelEnd


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one circuit while anything of it is, or may be, on the device."""

    intent: Intent
    state: LinkState
    generation: int
    """The highest seen in any order for this circuit."""
    deadline: float | None = None
    """Seconds since the epoch until which a tentative intent can be confirmed."""
    base: Intent | None = None
    """The confirmed intent that comes back when nobody confirms the tentative one."""

    @property
    def wanted(self) -> Intent | None:
        """What the device is to have. None: nothing."""
        return None if self.state is LinkState.REMOVING else self.intent


def admit(intent: Intent, kept: Kept | None, others: Iterable[Kept], *, seen: int, deadline: float | None) -> Kept:
    """What to keep once `intent` is ordered. `kept` is of its own circuit, `others` of the other ones.

    `deadline` is the epoch second until which it can be confirmed (None: no timer).

    Applying again what is confirmed leaves it confirmed; what is tentative gets the new deadline.
    Raises Stale `stale_generation`, `stale_revision`; Conflict `circuit_in_use`, `port_in_use`, `vni_in_use`,
    `revision_reused`.
    """
    _check_generation(intent.generation, seen, intent.circuit)
    for other in others:
        _check_free(intent, other)
    state = LinkState.CONFIRMED if deadline is None else LinkState.TENTATIVE
    fresh = Kept(intent=intent, state=state, generation=intent.generation, deadline=deadline)
    if kept is None:
        return fresh
    before, root = kept.intent, root_of(intent)
    if before.agreement != intent.agreement:
        leaving = kept.state is LinkState.REMOVING
        raise Conflict(
            "circuit_in_use",
            f'{root}.circuit: must be free ("{intent.circuit}" carries agreement {before.agreement})',
            field=f"{root}.circuit",
            hint="its removal is under way, try again" if leaving else "remove that agreement first",
        )
    if kept.state is LinkState.REMOVING:
        return fresh
    if _renumbered(before, intent) == intent:
        if kept.state is LinkState.CONFIRMED:
            return replace(fresh, state=LinkState.CONFIRMED, deadline=None)
        return replace(fresh, base=kept.base if deadline is not None else None)
    if intent.generation == before.generation:
        if intent.revision < before.revision:
            raise Stale(
                "stale_revision",
                f"{root}.revision: must not be older than the applied one ({intent.revision} < {before.revision})",
                field=f"{root}.revision",
                hint="read the present one with Observe",
            )
        if intent.revision == before.revision:
            raise Conflict(
                "revision_reused",
                f"{root}.revision: must be raised with every change of an intent ({intent.revision})",
                field=f"{root}.revision",
            )
    if deadline is None:
        return fresh
    return replace(fresh, base=before if kept.state is LinkState.CONFIRMED else kept.base)


def _renumbered(before: Intent, intent: Intent) -> Intent:
    return replace(before, generation=intent.generation, revision=intent.revision)


def _check_generation(generation: int, seen: int, circuit: str) -> None:
    if generation < seen:
        raise Stale(
            "stale_generation",
            f'generation: must not be lower than one seen before for circuit "{circuit}" ({generation}, seen {seen})',
            field="generation",
            hint="a newer order for this circuit has been taken; this one is void",
            existing=str(seen),
        )


def _check_free(intent: Intent, other: Kept) -> None:
    for taken in (other.intent, other.base):
        if taken is None or taken.circuit == intent.circuit:
            continue
        for field, wish in claims(intent):
            for _, held in claims(taken):
                if clash(wish, held):
                    raise _taken(field, held, taken.circuit)


def _taken(field: str, held: SegmentEnd, circuit: str) -> Conflict:
    if isinstance(held, TunnelEnd):
        return Conflict(
            "vni_in_use",
            f'{field}: must be free (VNI {held.vni} carries circuit "{circuit}")',
            field=field,
            hint="every trunk of a switch needs a vni_base of its own",
        )
    where = f'"{held.port}"' if held.vlan is None else f'"{held.port}", VLAN {held.vlan}'
    return Conflict(
        "port_in_use",
        f'{field}: must be free ({where} carries circuit "{circuit}")',
        field=field,
        hint="choose another port, or another VLAN where both circuits are tagged",
    )


def confirm(kept: Kept | None, *, circuit: str, agreement: UUID, generation: int, seen: int, now: float) -> Kept:
    """What to keep once the order to confirm is taken: idempotent. Raises Stale, and NotFound `link_unknown`."""
    known = kept is not None and kept.intent.agreement == agreement and kept.wanted is not None
    if kept is None or not known or (kept.deadline is not None and kept.deadline <= now):
        raise NotFound(
            "link_unknown",
            f'circuit: carries nothing of agreement {agreement} to confirm ("{circuit}")',
            field="circuit",
            hint="its confirm timer may have run out; apply it again",
        )
    _check_generation(generation, seen, circuit)
    return replace(kept, state=LinkState.CONFIRMED, generation=generation, deadline=None, base=None)


def remove(kept: Kept | None, *, agreement: UUID, generation: int, seen: int) -> Kept | None:
    """What to keep once the order to remove is taken; None where nothing of `agreement` is there. Raises Stale.

    An older agreement that was replaced long ago is not there either: whoever still owes its removal is done.
    """
    if kept is None or kept.intent.agreement != agreement:
        return None
    _check_generation(generation, seen, kept.intent.circuit)
    return removing(kept, generation=max(generation, seen))


def removing(kept: Kept, *, generation: int) -> Kept:
    """The same circuit, to be emptied."""
    return Kept(intent=kept.intent, state=LinkState.REMOVING, generation=generation)


def expire(kept: Kept, now: float) -> Kept:
    """What to keep at `now`: unchanged, or rolled back to the base (or to nothing) when the deadline has passed."""
    if kept.deadline is None or kept.deadline > now:
        return kept
    if kept.base is None:
        return removing(kept, generation=kept.generation)
    return Kept(intent=kept.base, state=LinkState.CONFIRMED, generation=kept.generation)


def undo(failed: Kept, before: Kept | None) -> Kept:
    """What to keep after the device refused `failed`: what was kept `before`, or the removal of what may be there."""
    if before is None:
        return removing(failed, generation=failed.generation)
    return replace(before, generation=failed.generation)


FIRST_RETRY, LAST_RETRY = 0.5, 30.0
"""Seconds until a failed repair is tried again: the first time, and at most."""
FREE_REPAIRS, LAST_PAUSE = 3, 4.0
"""Repairs in a row that are done at once, and the longest pause (seconds) before a later one: drift ends within 5 s."""


def retry_after(failures: int, chance: float) -> float:
    """Seconds until the next try after `failures` (1 or more) in a row; `chance` in 0..1 spreads them by a quarter."""
    return float(min(FIRST_RETRY * 2.0 ** min(failures - 1, 16), LAST_RETRY)) * (1 - chance / 4)


def pause_after(repairs: int) -> float:
    """Seconds until a link that was repaired `repairs` times in a row may be repaired again.

    Somebody else may be undoing our work as fast as we do it; that must not become a tight loop.
    """
    return 0.0 if repairs < FREE_REPAIRS else float(min(0.25 * 2.0 ** min(repairs - FREE_REPAIRS, 16), LAST_PAUSE))
