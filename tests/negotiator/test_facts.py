"""What a negotiator knows of its own network before it offers or accepts anything."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, NotFound
from meetme.model.intent import AppliedLink, LinkState, Observation, Port, RouteFact
from meetme.negotiator.circuits import direct_circuit, land
from meetme.negotiator.facts import RouterView, host_of, own_facts, port_problems
from meetme.negotiator.intents import along_the_path, as_reached, link_intent, probe_requests
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.settings import Configurator, NegotiatorSettings, parse_configurator
from meetme.negotiator.views import Terms
from meetme.runtime.settings import SettingsFile, resolve

from . import values
from .pair import CAN, settings

ME, PEER = MemberId("csp-a"), MemberId("csp-b")
LANDS = Attachment("r1", "eth1")
SEEN = Observation(
    ports=(
        Port("eth0", True, 1500, None, (ip_interface("10.0.0.1/24"), ip_interface("fe80::1/64"))),
        Port("eth1", True, 1400, None, (ip_interface("fe80::2/64"),)),
        Port("eth3", True, 1500, None, (ip_interface("192.0.2.9/29"),)),
    ),
    routes=(
        RouteFact(ip_network("0.0.0.0/0"), "eth3"),
        RouteFact(ip_network("10.8.0.0/16"), "eth0"),
        RouteFact(ip_network("172.16.5.0/24"), "veth0", ours=True),
        RouteFact(ip_network("198.51.100.0/24"), "eth3", connected=True),
    ),
    links=(),
)


def own(seen: Observation | None = SEEN, terms: Terms | None = None, *, count_summaries: bool = False, **changes):
    chosen = settings(**changes)
    view = RouterView(CAN, seen)
    claimed, control = (ip_network("172.16.0.0/24"),), (ip_address("203.0.113.7"),)
    return own_facts(
        ME,
        chosen,
        terms or Terms(),
        LANDS,
        view,
        claimed=claimed,
        control=control,
        count_summaries=count_summaries,
    )


def test_what_is_used_is_what_settings_router_and_other_negotiations_say() -> None:
    usage = own(in_use=(ip_network("10.77.0.0/16"),)).usage
    assert set(usage.held) == {
        ip_network("10.0.0.0/24"),
        ip_network("192.0.2.8/29"),
        ip_network("198.51.100.0/24"),
        ip_network("10.77.0.0/16"),
        ip_network("172.16.0.0/24"),
    }
    assert usage.routes == (ip_network("10.8.0.0/16"),), "no default route, none of our own"
    assert usage.control == (ip_address("203.0.113.7"),)


def test_less_specific_routes_count_where_policy_says_so() -> None:
    beneath, elsewhere = ip_network("10.8.3.0/24"), ip_network("203.0.113.128/25")
    assert not own().usage.clashes(beneath)
    strict = own(count_summaries=True)
    assert strict.usage.clashes(beneath)
    assert strict.usage.clashes(elsewhere), "the default route counts as well"
    assert not strict.usage.clashes(ip_network("fd00:1::/64")), "it is one of IPv4"
    pool = (ip_network("172.16.0.0/12"),)
    assert strict.usage.taken(pool) == own().usage.taken(pool), "aliases may still lie beneath it"


def test_a_request_overrides_the_settings_but_hides_nothing_in_use() -> None:
    facts = own(terms=Terms(local_subnets=(ip_network("10.99.0.0/24"),), mtu=1300))
    assert facts.prefixes == (ip_network("10.99.0.0/24"),)
    assert ip_network("10.0.0.0/24") in facts.usage.held
    assert (facts.mtu, facts.probe) == (1300, None)
    assert own().alias_pools == settings().private_networks


def test_mtu_and_probe_come_from_the_router() -> None:
    assert (own().mtu, own().probe) == (1400, ip_address("10.0.0.1"))
    assert own(probe_address=ip_address("10.0.0.250")).probe == ip_address("10.0.0.250")
    blind = own(seen=None)
    assert (blind.mtu, blind.probe) == (1500, None)


def test_a_port_has_to_be_there_and_free() -> None:
    view = RouterView(CAN, SEEN)

    def codes(attachment: Attachment, terms: Terms | None = None) -> list[str]:
        return [problem.code for problem in port_problems(attachment, view, terms or Terms(), "port")]

    assert codes(LANDS) == []
    assert codes(Attachment("r1", "eth9")) == ["port_unknown"]
    assert codes(Attachment("r1", "eth0")) == ["port_in_use"]
    assert codes(Attachment("r1", "eth0", vlan=5)) == [], "a VLAN leaves the rest of the port alone"
    assert codes(LANDS, Terms(mtu=1500)) == ["mtu_too_large"]
    intent = replace(link_intent(values.negotiated().agreement, values.Role.RESPONDER, LANDS, generation=1))
    busy = replace(SEEN, links=(AppliedLink(replace(intent, port="eth0"), LinkState.CONFIRMED, True),))
    assert list(port_problems(Attachment("r1", "eth0"), RouterView(CAN, busy), Terms(), "port")) == []
    assert list(port_problems(Attachment("r1", "x"), RouterView(CAN, None), Terms(), "port")) == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://isp.example:8470/x", "isp.example"),
        ("https://[2001:db8::1]:8470", "2001:db8::1"),
        ("127.0.0.1:8475", "127.0.0.1"),
        ("postgresql://me:secret@db.example/meetme", "db.example"),
        ("sqlite:////var/lib/x.db", ""),
        ("unix:/run/x", ""),
    ],
)
def test_the_host_of_a_url(url: str, host: str) -> None:
    assert host_of(url) == host


# --- circuits ---------------------------------------------------------------------------------------------------------


def test_a_circuit_lands_where_it_is_registered_asked_for_or_by_default() -> None:
    chosen, both = settings(), (ME, PEER)
    direct = direct_circuit(PEER, ME)
    assert direct == "direct:csp-a:csp-b"
    assert land(chosen, direct, both, None) == LANDS
    assert land(chosen, direct, both, None, "eth2") == Attachment("r1", "eth2")
    registered = Attachment("r1", "eth7", 9, 9000)
    assert land(chosen, "c1", both, registered) == registered
    assert land(chosen, "c1", both, registered, "r1/eth7") == registered
    assert land(chosen, "c1", both, None, "eth2").port == "eth2"
    for args, code in (
        (("c1", both, None), "attachment_unknown"),
        (("direct:csp-a:csp-z", both, None), "circuit_of_others"),
        (("c1", both, registered, "eth2"), "port_differs"),
        (("c1", both, None, "r2/eth2"), "router_unknown"),
    ):
        with pytest.raises((InvalidInput, NotFound)) as caught:
            land(chosen, *args)
        assert caught.value.code == code


# --- intents ----------------------------------------------------------------------------------------------------------


def test_only_the_translator_translates() -> None:
    agreement = values.negotiated().agreement
    assert agreement is not None
    sides = (replace(agreement.initiator, probe=ip_address("10.0.0.1")), replace(agreement.responder))
    agreement = replace(agreement, initiator=sides[0], responder=replace(sides[1], probe=ip_address("10.0.0.254")))
    mine = link_intent(agreement, values.Role.INITIATOR, LANDS, generation=5)
    theirs = link_intent(agreement, values.Role.RESPONDER, LANDS, generation=6)
    assert [m.translated for m in (*mine.local, *mine.remote)] == [True, True]
    assert [m.translated for m in (*theirs.local, *theirs.remote)] == [False, False]
    assert {m.wire for m in mine.local} == {m.inside for m in theirs.remote}, "one wire, seen from both ends"
    assert {m.wire for m in mine.remote} == {m.inside for m in theirs.local}
    assert (mine.probe, mine.peer_probe) == (ip_address("10.0.0.1"), ip_address("172.31.1.254"))
    assert as_reached(agreement.initiator, ip_address("10.9.9.9")) is None


def test_what_is_probed_depends_on_what_there_is() -> None:
    agreement = values.negotiated().agreement
    assert agreement is not None
    role = values.Role.INITIATOR
    assert probe_requests(agreement, role, target=None, within=1.0) == ()
    both = replace(
        agreement,
        initiator=replace(agreement.initiator, probe=ip_address("10.0.0.1")),
        responder=replace(agreement.responder, probe=ip_address("10.0.0.2")),
    )
    path, end = probe_requests(both, role, target=ip_address("10.0.0.77"), within=1.0)
    assert (path.source, path.target, path.sizes) == (ip_address("10.0.0.1"), ip_address("172.31.1.2"), (84, 1500))
    assert (end.target, end.sizes) == (ip_address("172.31.1.77"), (84,))
    assert along_the_path(path, both)
    numbered = replace(
        agreement,
        link=values.AgreedLink(
            values.LinkKind.NUMBERED, ip_interface("169.254.9.0/31"), ip_interface("169.254.9.1/31")
        ),
    )
    (link,) = probe_requests(numbered, values.Role.RESPONDER, target=None, within=1.0)
    assert (link.source, link.target) == (ip_address("169.254.9.1"), ip_address("169.254.9.0"))
    assert not along_the_path(link, numbered)


# --- settings ---------------------------------------------------------------------------------------------------------

FLAGS = {
    "local_subnet": ("10.0.0.0/24", "fd00:1::/64"),
    "border_router_port": "eth1",
    "private_networks": ("172.16.0.0/12",),
    "negotiated_networks": ("169.254.100.0/24",),
    "configurator": ("r1=127.0.0.1:8475",),
}


def read(**changes) -> NegotiatorSettings:
    flags = {key: value for key, value in {**FLAGS, **changes}.items() if value is not None}
    return resolve(NegotiatorSettings, "negotiator", file=SettingsFile(), environ={}, flags=flags)


def test_settings_are_read_from_flags() -> None:
    found = read(in_use=("10.5.0.0/16",), probe_address="10.0.0.9")
    found.check(ME)
    assert found.local_subnet == (ip_network("10.0.0.0/24"), ip_network("fd00:1::/64"))
    assert found.configurator == (Configurator("r1", "127.0.0.1:8475"),)
    assert (found.listen, found.listen_peers, found.database) == ("127.0.0.1:8471", None, None)
    assert found.attachment() == LANDS


@pytest.mark.parametrize("flag", list(FLAGS))
def test_a_mandatory_setting_is_named(flag: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(**{flag: None})
    assert (caught.value.code, caught.value.field) == ("setting_missing", flag)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"private_networks": ("10.0.0.0/8",)}, "pool_overlaps_subnet", "private_networks"),
        ({"negotiated_networks": ("172.16.1.0/24",)}, "pools_overlap", "private_networks"),
        ({"local_subnet": ("10.0.0.0/24", "10.0.0.0/16")}, "local_subnets_overlap", "local_subnets"),
        ({"border_router_port": "r2/eth1"}, "border_router_unknown", "border_router_port"),
        ({"configurator": ("r1=h:1", "r2=h:2")}, "border_router_unknown", "border_router_port"),
        ({"configurator": ("r1=h:1", "r1=h:2"), "border_router_port": "r1/e"}, "configurator_twice", "configurator"),
        ({"probe_address": "10.1.1.1"}, "probe_outside_prefixes", "probe_address"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, code: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(**changes).check(ME)
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize("text", ["", "r1", "=h:1", "r1=h", "a/b=h:1"])
def test_what_names_no_configurator(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_configurator(text, field="configurator")
    assert caught.value.code == "configurator_malformed"
