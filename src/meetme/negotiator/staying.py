"""What of an agreement stays when it is changed. Pure.

Rules of this file:

1. A prefix that stays keeps its entry word for word: alias and translator, so no packet for it is ever translated in
   two ways. The link stays as well, and so does the mode where anything that stays is translated.
2. New prefixes are chosen beside everything that the agreement in force has at either side, also beside what is
   withdrawn: for a moment one router carries the old agreement and the other one the new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from meetme.model.addresses import Prefix, overlaps
from meetme.model.agreement import AgreedPrefix, Agreement, Role, Translation
from meetme.model.errors import Problem
from meetme.negotiator.addressing import Own


def staying(current: Agreement | None, role: Role, prefixes: Iterable[Prefix]) -> dict[Prefix, AgreedPrefix]:
    """Those of `role`'s `prefixes` that are agreed on already, with their entries."""
    entries = {entry.real: entry for entry in current.side(role).prefixes} if current else {}
    return {real: entries[real] for real in prefixes if real in entries}


def fresh(current: Agreement | None, role: Role, prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """Those of `role`'s `prefixes` that are not agreed on yet."""
    wanted = tuple(prefixes)
    known = staying(current, role, wanted)
    return tuple(real for real in wanted if real not in known)


def beside(own: Own, current: Agreement | None, role: Role) -> Own:
    """The own facts, with all that the agreement in force has at this side as in use."""
    if current is None:
        return own
    return replace(own, usage=replace(own.usage, held=(*own.usage.held, *in_force(current, role))))


def in_force(current: Agreement, role: Role) -> tuple[Prefix, ...]:
    """What `role`'s side has in its routing of the agreement: aliases it views or translates, and the link."""
    found: dict[Prefix, None] = {}
    for owner in Role:
        for entry in current.side(owner).prefixes:
            if role in (owner.other, entry.translator):
                found[entry.alias] = None
    link = current.link.initiator
    return (*found, *((link.network,) if link is not None else ()))


def mode_that_stays(current: Agreement | None, kept: Iterable[AgreedPrefix]) -> tuple[Translation, Role | None] | None:
    """Mode and, in `single`, translator, where anything that stays is translated. None: it may be any."""
    translators = [entry.translator for entry in kept if entry.translator is not None]
    if current is None or not translators:
        return None
    return current.translation, translators[0] if current.translation is Translation.SINGLE else None


def change_problems(own: Own, current: Agreement | None, role: Role) -> Iterator[Problem]:
    """What makes this side's own prefixes unusable for a change of `current`, whatever the peer announces."""
    if current is None:
        return
    if not own.can.change:
        yield Problem(
            "change_unsupported",
            "configurator: cannot change what it has configured",
            "terminate the agreement and start another one, or use a configurator with LinkConfigurator",
        )
    for prefix in fresh(current, role, own.prefixes):
        for other in in_force(current, role):
            if overlaps(prefix, other):
                yield Problem(
                    "change_overlaps",
                    f"local_subnets: {prefix} overlaps {other}, which the agreement in force has in use",
                    "withdraw that one first, or terminate the agreement and start another one",
                    "local_subnets",
                )
