"""The rules of ordering, for whatever an exchange may show."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings, strategies

from meetme.ixapi import shown as reading
from meetme.ixapi.faults import error_of
from meetme.ixapi.offerings import Wanted, carries, choose, replacement
from meetme.ixapi.orders import OrderEnd, SegmentOrder, SegmentState
from meetme.ixapi.progress import next_change, next_removal, next_step, view
from meetme.ixapi.shown import Offering, Shown, ShownConfig, ShownService, Standing
from meetme.ixapi.steps import Cancel, CreateConfigs, CreateService, Done, GiveUp, Mend, Past, Side, Wait
from meetme.model.errors import Conflict, Exhausted, InvalidInput, MeetMeError, NotFound, Refused

TODAY = date(2026, 11, 22)
ORDER = SegmentOrder("c1", OrderEnd("con-a", None), OrderEnd("con-b", 100), 100)
DAYS = strategies.sampled_from([None, TODAY, TODAY + timedelta(days=9)])
IDS = strategies.sampled_from(["s1", "s2", "s3"])
REFERENCES = strategies.sampled_from(["c1", "c1", "c1", None])

SERVICES = strategies.builds(
    ShownService,
    id=IDS,
    state=strategies.just("x"),
    standing=strategies.sampled_from([s for s in Standing if s is not Standing.GONE]),
    reference=REFERENCES,
    capacity=strategies.sampled_from([None, 50, 100]),
    decommission_at=DAYS,
)
CONFIGS = strategies.builds(
    ShownConfig,
    id=strategies.sampled_from(["e1", "e2", "e3", "e4"]),
    state=strategies.just("x"),
    standing=strategies.sampled_from([s for s in Standing if s is not Standing.GONE]),
    reference=strategies.sampled_from(["c1/a", "c1/b", "c1/b", None]),
    service=strategies.sampled_from(["s1", "s1", "s2", "s9", None]),
    connection=strategies.sampled_from(["con-a", "con-b", "con-b", "con-x", None]),
    whole=strategies.booleans(),
    vlan=strategies.sampled_from([None, 100, 100, 101]),
    capacity=strategies.sampled_from([None, 50, 100]),
    decommission_at=DAYS,
)
SHOWN = strategies.builds(
    Shown,
    strategies.lists(SERVICES, max_size=3, unique_by=lambda s: s.id).map(tuple),
    strategies.lists(CONFIGS, max_size=4, unique_by=lambda c: c.id).map(tuple),
)
THINGS = strategies.frozensets(strategies.sampled_from(["s1", "s2", "e1", "e2"]))
PASTS = strategies.builds(
    Past,
    created=THINGS,
    uncertain=strategies.frozensets(strategies.sampled_from(["c1", "c1/a", "c1/b"])),
    mended=THINGS,
    cancelled=THINGS,
    kept=THINGS,
    settled=strategies.booleans(),
    terms=strategies.sampled_from([None, reading.Terms()]),
)
JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(max_size=5),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = strategies.sampled_from(
    [
        *("id", "type", "state", "status", "vlan_config", "vlan", "vlan_type", "capacity", "decommission_at", "name"),
        *("properties", "reason", "external_ref", "contract_initial_period", "supported_features"),
        "supported_operations",
    ]
)
DOCUMENTS = JSON | strategies.dictionaries(FIELDS, JSON | strategies.just("p2p_vc") | strategies.just("P1Y2M"))


@settings(max_examples=80, deadline=None)
@given(SHOWN, PASTS)
def test_nothing_is_ordered_twice_whatever_is_shown(shown: Shown, past: Past) -> None:
    step = next_step(ORDER, shown, past, today=TODAY, charged_days=30)
    match step:
        case CreateService():
            assert shown.nothing
            assert "c1" not in past.uncertain
        case CreateConfigs(service, sides):
            assert service in shown.services
            assert service.standing not in (Standing.LEAVING, Standing.FAILED)
            there = {c.reference for c in shown.configs if c.service == service.id and c.reference is not None}
            assert not there & {f"c1/{side}" for side in sides}
            assert not past.uncertain & {f"c1/{side}" for side in sides}
            assert past.terms is not None
        case Done(built):
            assert built is not None
            assert len([s for s in shown.services if s.standing is not Standing.LEAVING]) == 1
            assert (built.b_vlan, built.bandwidth) == (100, 100)
        case Cancel(services, configs):
            assert services or configs
        case Mend(config):
            assert config not in past.mended


@settings(max_examples=80, deadline=None)
@given(SHOWN, PASTS)
def test_what_is_left_is_cancelled_until_nothing_is_shown(shown: Shown, past: Past) -> None:
    step = next_removal(shown, past)
    if isinstance(step, Done):
        assert shown.nothing
    elif isinstance(step, Cancel):
        ids = {s.id for s in shown.services} | {c.id for c in shown.configs}
        assert {*step.services, *step.configs} <= ids - past.kept
    else:
        assert isinstance(step, Wait | GiveUp)
    seen = view("c1", shown)
    assert (seen.state is SegmentState.ABSENT) is shown.nothing
    next_change("c1", 50, shown, past)  # whatever is shown


@settings(max_examples=80, deadline=None)
@given(DOCUMENTS, strategies.integers(400, 599))
def test_no_document_is_too_strange_to_be_read(document: object, status: int) -> None:
    for read in (reading.read_service, reading.read_config, reading.read_offering, reading.read_connection):
        read(document)
    reading.read_terms(document)
    reading.read_implementation(document)
    error = error_of(status, document, what="POST /x")
    assert isinstance(error, MeetMeError)
    assert len(error.text) < 500


def test_a_later_version_is_read_too() -> None:
    found = reading.read_config(
        {
            "id": 17,
            "type": "p2p_vc",
            "state": "polishing",
            "network_service": "s1",
            "vlan_config": {"vlan_type": "qinq", "outer_vlan": 7, "inner_vlan": 8, "outer_vlan_ethertype": "0x88a8"},
            "capacity": None,
            "l3_config": {"anything": []},
            "status": [{"severity": 3, "message": "the LOA is missing"}, {"severity": 6, "message": "fine"}],
        }
    )
    assert found is not None
    assert (found.id, found.standing, found.vlan, found.says) == ("17", Standing.COMING, 7, "the LOA is missing")
    assert reading.read_service({"id": "s", "type": "mp2mp_vc"}) is None


OFFERINGS = (
    Offering("slow", bandwidth_max=100, notice_days=30),
    Offering("wide", bandwidth_min=1, bandwidth_max=10_000),
    Offering("exact", bandwidth_min=50, bandwidth_max=500),
    Offering("there", bandwidth_max=500, handover_area="fra", service_area="ams"),
    Offering("old", orderable_until=TODAY - timedelta(days=1)),
)


def test_the_offering_that_binds_least_and_fits_best_is_taken() -> None:
    assert choose(OFFERINGS, Wanted(100, TODAY)).id == "exact"
    assert choose(OFFERINGS, Wanted(700, TODAY)).id == "wide"
    assert choose(OFFERINGS, Wanted(20, TODAY, a_area="fra", b_area="ams")).id == "there"
    assert choose(OFFERINGS, Wanted(60, TODAY, product="slow")).id == "slow"
    with pytest.raises(Refused, match="30"):
        choose(OFFERINGS, Wanted(60, TODAY, product="slow", notice_days=10))
    with pytest.raises(NotFound, match="gone"):
        choose(OFFERINGS, Wanted(60, TODAY, product="gone"))
    with pytest.raises(Exhausted, match="nearest is 10000"):
        choose(OFFERINGS, Wanted(20_000, TODAY))
    with pytest.raises(NotFound):
        choose((), Wanted(1, TODAY))


def test_a_product_is_left_only_where_it_lets_go() -> None:
    exact, wide = OFFERINGS[2], OFFERINGS[1]
    assert replacement(exact, OFFERINGS, 400) is exact
    assert replacement(exact, OFFERINGS, 600) is wide
    held = Offering("held", bandwidth_max=100, upgrade_allowed=False)
    with pytest.raises(Conflict, match="upgraded"):
        replacement(held, OFFERINGS, 600)
    assert carries(held, 100)
    assert not carries(held, 101)


@pytest.mark.parametrize(
    ("a", "b", "reference", "bandwidth"),
    [
        (OrderEnd("p", 1), OrderEnd("q", 2), "", 1),
        (OrderEnd("p", 1), OrderEnd("q", 2), "x" * 81, 1),
        (OrderEnd("p", 1), OrderEnd("q", 2), "x", 0),
        (OrderEnd("p"), OrderEnd("p", 2), "x", 1),
        (OrderEnd("p", 2), OrderEnd("p", 2), "x", 1),
    ],
)
def test_orders_that_make_no_sense_are_refused(a: OrderEnd, b: OrderEnd, reference: str, bandwidth: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        SegmentOrder(reference, a, b, bandwidth)
    assert refused.value.field


def test_each_end_is_mended_once_and_then_given_up() -> None:
    service = ShownService("s1", "production", Standing.READY, "c1")
    a = ShownConfig("e1", "production", Standing.READY, "c1/a", "s1", "con-a", vlan=7, capacity=100)
    b = ShownConfig("e2", "production", Standing.READY, "c1/b", "s1", "con-b", vlan=101, capacity=100)
    seen, past = Shown((service,), (a, b)), Past(terms=reading.Terms())
    assert next_step(ORDER, seen, past, today=TODAY) == Mend("e2", Side.B)
    mended = Past(terms=reading.Terms(), mended=frozenset({"e2"}))
    assert isinstance(next_step(ORDER, seen, mended, today=TODAY), Wait)
    settled = Past(terms=reading.Terms(), mended=frozenset({"e2"}), settled=True)
    step = next_step(ORDER, seen, settled, today=TODAY)
    assert isinstance(step, GiveUp)
    assert step.error.code == "exchange_vlan_other"
