"""Who is who in the federation: what `roster.toml` says, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from meetme.model.addresses import Prefix
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, NotFound

_MEMBER_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class MemberKind(StrEnum):
    """What a member is."""

    CSP = "csp"
    """A provider of cloud, access or any other network with border routers."""
    IXP = "ixp"
    """An exchange."""


@dataclass(frozen=True, slots=True)
class ServiceUrls:
    """Where the services of a member listen for other members (`https://host:port`)."""

    negotiator: str | None = None
    catalog: str | None = None
    composer: str | None = None
    ixapi: str | None = None


@dataclass(frozen=True, slots=True)
class MemberPolicy:
    """What one peer may do with us (thesis 7.4)."""

    announce: tuple[Prefix, ...] = ()
    """Prefixes within which it may announce; empty: anything but a default route."""
    order_required: bool = False
    """Whether a negotiation needs an approved order."""
    max_agreements: int | None = None
    """How many agreements may be live at a time. Left out: any number."""
    proposals_per_minute: int | None = None
    """How many negotiations it may begin, or try in a dry run, within a minute. Left out: any number."""
    count_summaries: bool = False
    """Whether a less specific route of ours, a default route too, makes a prefix of this peer overlap."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member. Its identity is its public key: whoever presents one of `pins` is this member, nobody else."""

    id: MemberId
    kind: MemberKind
    pins: tuple[str, ...]
    """One, or two while keys rotate: `sha256:` and the hex SHA-256 of the key's SubjectPublicKeyInfo."""
    certificates: tuple[bytes, ...] = ()
    """PEM, one for each pin."""
    country: str | None = None
    """ISO 3166-1 alpha-2."""
    urls: ServiceUrls = ServiceUrls()
    policy: MemberPolicy = MemberPolicy()


@dataclass(frozen=True, slots=True)
class Roster:
    """Every member that is known here."""

    members: tuple[Member, ...] = field(default=())

    def find(self, member: str) -> Member | None:
        """The member of this id, or None."""
        return next((known for known in self.members if known.id == member), None)

    def member(self, member: str) -> Member:
        """The member of this id. Raises NotFound `peer_unknown`."""
        found = self.find(member)
        if found is None:
            raise NotFound(
                "peer_unknown",
                f"peer: must be a member of the roster ('{member}')",
                hint=f"meetme peer add {member} makes it known",
                field="peer",
            )
        return found

    def of_pin(self, pin: str) -> Member | None:
        """Whose public key this is, or None."""
        return next((known for known in self.members if pin in known.pins), None)

    def with_member(self, member: Member) -> Roster:
        """The same with `member` added, or replaced where its id is known."""
        others = tuple(known for known in self.members if known.id != member.id)
        return Roster((*others, member))

    def without(self, member: str) -> Roster:
        """The same without the member of this id. Raises NotFound `peer_unknown`."""
        gone = self.member(member)
        return Roster(tuple(known for known in self.members if known is not gone))


def parse_member_id(text: str, *, field: str) -> MemberId:
    """Read a member id, which is also a DNS label. Raises InvalidInput `member_id_malformed`."""
    if not _MEMBER_ID.fullmatch(text) or text.endswith("-"):
        raise InvalidInput(
            "member_id_malformed",
            f"{field}: must be a member id ('{text}')",
            hint="lower-case letters, digits and hyphens, at most 63, for example isp-one",
            field=field,
        )
    return MemberId(text)
