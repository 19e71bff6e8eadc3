"""Why an initiator does not sign what a responder answered: the mirror of `agreeing.agree`.

The initiator knows its own half of the facts alone, so it cannot derive the agreement; it checks everything that its
half decides. Whatever it objects to is the other negotiator breaking the protocol, or a network that has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from meetme.model.addresses import Prefix, overlaps
from meetme.model.agreement import AgreedPrefix, Agreement, LinkKind, Role, Translation
from meetme.model.errors import Fault, Problem
from meetme.negotiator.addressing import Can, LinkWish, Offer, Own, TranslationWish
from meetme.negotiator.agreeing import concerns
from meetme.negotiator.linking import LEAST_MTU, numbered_link
from meetme.negotiator.staying import beside, fresh, mode_that_stays, staying

_WISHES = {
    TranslationWish.NONE: {Translation.NONE},
    TranslationWish.SINGLE: {Translation.NONE, Translation.SINGLE},
    TranslationWish.EACH_OWN: {Translation.NONE, Translation.EACH_OWN},
    TranslationWish.AUTO: set(Translation),
}


def objections(agreement: Agreement, offer: Offer, own: Own, current: Agreement | None = None) -> tuple[Problem, ...]:
    """Why the initiator cannot sign `agreement`, which claims to answer its `offer`. Empty: it can.

    `current`: the agreement in force that this would change (see `staying`).
    """
    own = beside(own, current, Role.INITIATOR)
    return (
        *_about_sides(agreement, offer, own),
        *_about_staying(agreement, current),
        *_about_prefixes(agreement, offer, own, current),
        *_about_translation(agreement, own),
        *(_about_link(agreement, offer, own) if current is None else ()),
    )


def _object(code: str, text: str) -> Problem:
    return Problem(code, text, "if it happens again, report it to the other member", None, Fault.REMOTE)


def _about_sides(agreement: Agreement, offer: Offer, own: Own) -> Iterator[Problem]:
    mine, theirs = agreement.initiator, agreement.responder
    if agreement.version != 1:
        yield _object("agreement_version", f"agreement.version: must be 1 ({agreement.version})")
    said = (mine.member, tuple(p.real for p in mine.prefixes), mine.probe, mine.second_probe)
    if said != (own.member, offer.prefixes, offer.probe, offer.second_probe):
        yield _object("agreement_not_offered", "agreement.initiator: differs from what was offered")
    if tuple(p.real for p in theirs.prefixes) != offer.peer_prefixes:
        yield _object("agreement_not_offered", "agreement.responder.prefixes: differ from those the offer was made for")
    if not LEAST_MTU <= agreement.mtu <= offer.mtu:
        yield _object("agreement_mtu", f"agreement.mtu: must be between {LEAST_MTU} and {offer.mtu} ({agreement.mtu})")
    for probe in theirs.probes:
        if not any(probe in p.real for p in theirs.prefixes):
            yield _object("agreement_probe", f"agreement.responder.probe: must lie in one of its prefixes ({probe})")
    if len({probe.version for probe in theirs.probes}) != len(theirs.probes):
        seen = ", ".join(map(str, theirs.probes))
        yield _object("agreement_probe", f"agreement.responder.second_probe: must be of the other family ({seen})")


def _about_staying(agreement: Agreement, current: Agreement | None) -> Iterator[Problem]:
    revision = current.revision + 1 if current else 1
    if agreement.revision != revision:
        yield _object("agreement_revision", f"agreement.revision: must be {revision} ({agreement.revision})")
    if current is None:
        return
    if agreement.link != current.link:
        yield _object("agreement_link", "agreement.link: must stay as it is")
    kept: list[AgreedPrefix] = []
    for role, index, entry in _entries(agreement):
        known = staying(current, role, (entry.real,))
        kept += known.values()
        if entry not in known.values() and known:
            path = f"agreement.{role}.prefixes[{index}]"
            yield _object("agreement_staying", f"{path}: must stay as it is agreed ({entry.real} as {entry.alias})")
    stays = mode_that_stays(current, kept)
    if stays is not None and agreement.translation is not stays[0]:
        yield _object("agreement_translation", f"agreement.translation: must stay {stays[0]} ({agreement.translation})")


def _about_prefixes(agreement: Agreement, offer: Offer, own: Own, current: Agreement | None) -> Iterator[Problem]:
    in_use_here: list[Prefix] = []
    for role, index, entry in _entries(agreement):
        if not fresh(current, role, (entry.real,)):
            continue
        path = f"agreement.{role}.prefixes[{index}]"
        translated = entry.real != entry.alias
        if translated != (entry.translator is not None):
            yield _object("agreement_translator", f"{path}: an alias and a translator come together")
        if (entry.alias.version, entry.alias.prefixlen) != (entry.real.version, entry.real.prefixlen):
            yield _object("agreement_alias_length", f"{path}.alias: must be as long as {entry.real} ({entry.alias})")
        if role is Role.RESPONDER and not translated and own.usage.clashes(entry.real):
            yield _object("agreement_overlap", f"{path}: {entry.real} overlaps what this network uses and has no alias")
        if role is Role.RESPONDER and translated and entry.real not in offer.need_alias:
            yield _object("agreement_alias", f"{path}.alias: was not asked for ({entry.alias})")
        if translated and concerns(Role.INITIATOR, role, entry.translator):
            in_use_here.append(entry.alias)
            if entry.alias not in offer.aliases:
                yield _object("agreement_alias", f"{path}.alias: was not among the aliases offered ({entry.alias})")
    for one, other in combinations(in_use_here, 2):
        if overlaps(one, other) and not _shared(agreement):
            yield _object("agreement_alias", f"agreement: two prefixes must not share an alias ({one} and {other})")


def _shared(agreement: Agreement) -> bool:
    """One alias for both directions: one prefix a side, one translator."""
    mine, theirs = agreement.initiator.prefixes, agreement.responder.prefixes
    alike = len(mine) == len(theirs) == 1 and mine[0].alias == theirs[0].alias
    return alike and agreement.translation is Translation.SINGLE


def _about_translation(agreement: Agreement, own: Own) -> Iterator[Problem]:
    translated = [(role, entry) for role, _, entry in _entries(agreement) if entry.translator is not None]
    translators = {entry.translator for _, entry in translated}
    fits = {
        Translation.NONE: not translated,
        Translation.SINGLE: len(translators) == 1,
        Translation.EACH_OWN: bool(translated) and all(entry.translator is role for role, entry in translated),
    }
    if not fits[agreement.translation]:
        yield _object(
            "agreement_translator", f"agreement.translation: the translators do not fit {agreement.translation}"
        )
    if agreement.translation not in _WISHES[own.translation]:
        asked = f"{own.translation} was asked for ({agreement.translation})"
        yield _object("agreement_translation", f"agreement.translation: {asked}")
    if Role.INITIATOR in translators and not _able(own.can, agreement):
        yield _object("agreement_capability", "agreement.translation: this router cannot do what it asks for")


def _about_link(agreement: Agreement, offer: Offer, own: Own) -> Iterator[Problem]:
    link = agreement.link
    if link.kind is LinkKind.UNNUMBERED:
        if not own.can.unnumbered or own.link is LinkWish.NUMBERED:
            yield _object("agreement_link", "agreement.link: this side needs a numbered link")
        if link.initiator is not None or link.responder is not None:
            yield _object("agreement_link", "agreement.link: an unnumbered link has no addresses")
    elif link not in [numbered_link(prefix) for prefix in offer.links]:
        yield _object("agreement_link", "agreement.link: was not among the link prefixes offered")


def _entries(agreement: Agreement) -> Iterator[tuple[Role, int, AgreedPrefix]]:
    for role in Role:
        for index, entry in enumerate(agreement.side(role).prefixes):
            yield role, index, entry


def _able(can: Can, agreement: Agreement) -> bool:
    if agreement.translation is Translation.EACH_OWN:
        return can.each_own
    pairs = {(entry.real, entry.alias) for _, _, entry in _entries(agreement)}
    return can.single or (can.single_identical and len(pairs) == 1)
