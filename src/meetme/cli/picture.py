"""An agreement in a person's words: who reaches whom under which addresses, and who translates."""

from __future__ import annotations

from collections.abc import Iterator

from meetme.model.agreement import AgreedSide, Agreement, LinkKind, Role


def agreement_lines(agreement: Agreement, *, me: str | None = None) -> Iterator[str]:
    """The agreement as lines of text, seen from `me` where that is one of the two."""
    viewers = sorted(Role, key=lambda role: agreement.side(role).member != me)  # what you reach comes first
    for role in viewers:
        owner, viewer = agreement.side(role.other), agreement.side(role)
        yield from _reach_lines(owner, viewer, agreement, me)
    link = agreement.link
    if link.kind is LinkKind.UNNUMBERED:
        link_text = "unnumbered"
    else:
        link_text = f"{link.initiator} ({agreement.initiator.member}) - {link.responder} ({agreement.responder.member})"
    yield f"link {link_text}, MTU {agreement.mtu}, translation {agreement.translation}, circuit {agreement.circuit}"
    if agreement.revision > 1:
        yield f"revision {agreement.revision}"


def _reach_lines(owner: AgreedSide, viewer: AgreedSide, agreement: Agreement, me: str | None) -> Iterator[str]:
    who = "you" if viewer.member == me else viewer.member
    whose = "your" if owner.member == me else f"{owner.member}'s"
    verb = "reach" if who == "you" else "reaches"
    for prefix in owner.prefixes:
        if prefix.translator is None:
            yield f"{who} {verb} {whose} {prefix.real} as it is"
        else:
            translator = agreement.side(prefix.translator).member
            by = "you translate" if translator == me else f"{translator} translates"
            yield f"{who} {verb} {whose} {prefix.real} as {prefix.alias} ({by})"
