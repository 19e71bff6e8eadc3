"""Hypothesis strategies and small builders for the negotiator's values."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from uuid import UUID

from hypothesis import strategies as st

from meetme.model.agreement import (
    AgreedLink,
    AgreedPrefix,
    AgreedSide,
    Agreement,
    LinkKind,
    MemberId,
    Role,
    Translation,
)
from meetme.model.errors import Fault, Problem
from meetme.negotiator.addressing import Can, Counter, LinkWish, Offer, TranslationWish
from meetme.negotiator.messages import (
    ActiveBody,
    ChangeBody,
    CommitBody,
    CommittedBody,
    ConfirmBody,
    CounterBody,
    FailedBody,
    HoldBody,
    ProposeBody,
    QueryBody,
    RefuseBody,
    StateBody,
    TerminateBody,
    TerminatedBody,
    Verified,
)
from meetme.negotiator.negotiation import Attachment, Health, HealthState, Negotiation, StepTime, Wish
from meetme.negotiator.states import Device, State

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
name = st.text("abcdefghijklmnopqrstuvwxyz0123456789-:/", min_size=1, max_size=30)
member = st.sampled_from(["csp-a", "csp-b", "ixp-1"]).map(MemberId)
seconds = st.floats(0, 1e6, allow_nan=False)


def _network4(args: tuple[int, int]) -> IPv4Network:
    address, length = args
    return IPv4Network((address >> (32 - length) << (32 - length), length))


def _network6(args: tuple[int, int]) -> IPv6Network:
    address, length = args
    return IPv6Network((address >> (128 - length) << (128 - length), length))


prefix = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(_network4) | st.tuples(
    st.integers(0, 2**128 - 1), st.integers(1, 128)
).map(_network6)
address = st.ip_addresses()
prefixes = st.lists(prefix, max_size=4).map(tuple)
problem = st.builds(Problem, text, text, text, st.none() | text, st.sampled_from(Fault))
can = st.builds(Can, max_prefixes=st.none() | st.integers(1, 9))
offer = st.builds(
    Offer,
    prefixes,
    st.none() | prefixes,
    prefixes,
    prefixes,
    prefixes,
    prefixes,
    can,
    st.integers(68, 9000),
    st.sampled_from(TranslationWish),
    st.sampled_from(LinkWish),
    st.none() | address,
)
agreed_prefix = st.builds(AgreedPrefix, prefix, prefix, st.none() | st.sampled_from(Role))
side = st.builds(AgreedSide, member, st.lists(agreed_prefix, max_size=3).map(tuple), st.none() | address)
link = st.just(AgreedLink(LinkKind.UNNUMBERED)) | st.just(
    AgreedLink(LinkKind.NUMBERED, ip_interface("169.254.9.0/31"), ip_interface("169.254.9.1/31"))
)
agreement = st.builds(
    Agreement,
    st.uuids(),
    name,
    st.none() | name,
    link,
    st.integers(576, 9000),
    st.sampled_from(Translation),
    side,
    side,
)
verified = st.none() | st.sampled_from(Verified)
body = st.one_of(
    st.builds(ProposeBody, offer, st.none() | name, st.booleans(), st.integers(0, 9)),
    st.builds(HoldBody, agreement, seconds),
    st.builds(CounterBody, st.builds(Counter, prefixes, prefixes, prefixes, prefixes, prefixes)),
    st.builds(RefuseBody, st.lists(problem, max_size=3).map(tuple), st.none() | st.uuids()),
    st.builds(CommitBody, agreement),
    st.builds(CommittedBody, verified),
    st.builds(ConfirmBody, verified),
    st.builds(FailedBody, problem),
    st.builds(ActiveBody, verified),
    st.builds(TerminateBody, st.none() | problem),
    st.just(TerminatedBody()),
    st.builds(QueryBody, st.sampled_from(State), st.integers(0, 99), st.none() | agreement),
    st.builds(
        StateBody,
        st.none() | st.sampled_from(State),
        st.integers(0, 99),
        st.none() | agreement,
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    st.just(ChangeBody()),
)
attachment = st.builds(Attachment, name, name, st.none() | st.integers(1, 4094), st.integers(576, 9000))
_plain = st.builds(
    Negotiation,
    id=st.uuids(),
    role=st.sampled_from(Role),
    me=member,
    peer=member,
    circuit=name,
    order=st.none() | name,
    attachment=attachment,
    generation=st.integers(0, 2**60),
    started=seconds,
    state=st.sampled_from(State),
    revision=st.integers(0, 99),
    offer=st.none() | offer,
    agreement=st.none() | agreement,
    document=st.none() | text,
    device=st.sampled_from(Device),
    verified=verified,
    pending=st.lists(st.uuids(), max_size=2).map(tuple),
    problem=st.none() | problem,
    left_on_device=st.lists(text, max_size=2).map(tuple),
    health=st.none() | st.builds(Health, st.sampled_from(HealthState), st.none() | seconds, seconds),
    steps=st.lists(st.builds(StepTime, name, seconds, st.booleans()), max_size=3).map(tuple),
    probe_target=st.none() | address,
    superseded_by=st.none() | st.uuids(),
)
wish = st.builds(Wish, st.none() | prefixes, st.none() | prefixes, st.none() | st.integers(576, 9000))
negotiation = _plain | st.builds(
    replace,
    _plain,
    change=st.none() | st.builds(replace, _plain, number=st.integers(1, 9), base=agreement, wish=wish),
    changes=st.integers(0, 9),
    adopted=st.integers(0, 9),
    wanted=st.none() | wish,
    wish=wish,
    leaving=st.lists(agreement, max_size=2).map(tuple),
)


def negotiated(number: int = 1, **changes: object) -> Negotiation:
    """A responder's negotiation that holds an agreement: the peer's 10.0.0.0/24 is 172.31.N.0/24 here."""
    id = UUID(int=number)
    alias = ip_network(f"172.31.{number}.0/24")
    real = ip_network("10.0.0.0/24")
    agreed = Agreement(
        id,
        f"c{number}",
        None,
        AgreedLink(LinkKind.UNNUMBERED),
        1500,
        Translation.SINGLE,
        AgreedSide(MemberId("csp-a"), (AgreedPrefix(real, alias, Role.INITIATOR),)),
        AgreedSide(MemberId("csp-b"), (AgreedPrefix(real, alias, Role.INITIATOR),)),
    )
    values: dict[str, object] = {
        "id": id,
        "role": Role.RESPONDER,
        "me": MemberId("csp-b"),
        "peer": MemberId("csp-a"),
        "circuit": f"c{number}",
        "order": None,
        "attachment": Attachment("r1", f"p{number}"),
        "generation": 1,
        "started": 1000.0,
        "state": State.HELD,
        "agreement": agreed,
    }
    return Negotiation(**{**values, **changes})  # type: ignore[arg-type]
