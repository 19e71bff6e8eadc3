"""The rules of an exchange: labels, capacity, pieces on switches, states. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from uuid import UUID

import pytest

from meetme.ixapi import bundle as ev
from meetme.ixapi.bundle import Applied, Bundle, Confirmed, Event, Failed, Lost, Phase, Program, Removed, Room, WakeAt
from meetme.ixapi.claims import claims
from meetme.ixapi.course import Course, terms
from meetme.ixapi.objects import WHOLE_PORT, Cancellation, Config, Owners, Papers, Service, State
from meetme.ixapi.plant import Plant
from meetme.ixapi.segments import pieces
from meetme.model.errors import Conflict, Exhausted, MeetMeError, Problem, Refused
from meetme.model.segment import AccessEnd, TunnelEnd, describe
from tests.ixapi.market import settings

DAY = date(2026, 5, 4)
TODAY = Cancellation(DAY, DAY)


@dataclass
class Exchange:
    """One bundle, and what others have."""

    plant: Plant = field(default_factory=lambda: settings().plant())
    room: Room = field(default_factory=Room)
    bundle: Bundle | None = None
    now: float = 1_000_000.0
    owed: list[Program] = field(default_factory=list)
    woken: list[WakeAt] = field(default_factory=list)

    def give(self, event: Event) -> Bundle:
        self.now += 1
        before = self.bundle
        self.bundle, effects = Course(self.plant).step(before, event)
        self.owed += [effect for effect in effects if isinstance(effect, Program)]
        self.woken += [effect for effect in effects if isinstance(effect, WakeAt)]
        return self.bundle

    def service(
        self, a: str = "csp-a", b: str = "csp-b", id: str = "one", capacity: int | None = None, ref: str = "x"
    ) -> str:
        new = Service(
            id=id,
            owners=Owners("fed", a, "fed"),
            papers=Papers(ref),
            joining=b,
            offering="p2p",
            capacity=capacity,
            created=self.now,
        )
        self.give(ev.ServiceOrdered(Bundle(id=UUID(int=7), circuit="x", key="fed/x"), new, self.now))
        return id

    def config(
        self, service: str, connection: str, vlan: int | None = None, capacity: int | None = 10, n: str = ""
    ) -> str:
        account = {"a": "csp-a", "b": "csp-b", "n": "fed"}[connection[0]]
        new = Config(
            id=f"{service}-{connection}{n}",
            service=service,
            owners=Owners("fed", account, "fed"),
            papers=Papers(),
            connection=connection,
            vlan=WHOLE_PORT,
            capacity=capacity,
            created=self.now,
        )
        self.give(ev.ConfigOrdered(new, vlan, self.room, self.now))
        return new.id

    def whole(self, a: str, b: str, id: str = "one", **each: int | None) -> str:
        owner = {"a": "csp-a", "b": "csp-b", "n": "fed"}
        self.service(owner[a[0]], owner[b[0]], id)
        self.config(id, a, **each)
        self.config(id, b, **each)
        return id

    def follow(self, but: Callable[[Program], bool] = lambda _program: False) -> None:
        """Every switch does what it is told, `but` for some."""
        while due := [program for program in self.owed if not but(program)]:
            program = due[0]
            self.owed.remove(program)
            about = (program.switch, program.name, program.generation, self.now)
            kinds = {Phase.APPLY: Applied, Phase.CONFIRM: Confirmed, Phase.REMOVE: Removed}
            self.give(kinds[program.verb](*about))

    def state(self, id: str = "one") -> State:
        assert self.bundle is not None
        return self.bundle.service(id).state

    def shown(self) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
        """The pieces that are wanted, as a person names their ends."""
        assert self.bundle is not None
        found = pieces(self.bundle, self.plant)
        return {(p.switch, p.name): ([*map(describe, p.a)], [*map(describe, p.b)]) for p in found}


def test_states_follow_the_facts() -> None:
    x = Exchange()
    x.service()
    assert x.state() is State.REQUESTED
    says = [(status.tag, dict(status.attrs)) for status in x.bundle.services[0].status]
    assert says == [
        ("network_service_config_missing", {"account": "csp-a", "side": "a"}),
        ("network_service_config_missing", {"account": "csp-b", "side": "b"}),
    ]
    x.config("one", "a1")
    assert x.state() is State.REQUESTED
    x.config("one", "b2")
    assert x.state() is State.ALLOCATED
    x.follow(but=lambda program: program.switch == "s2")
    assert x.state() is State.ALLOCATED
    x.follow(but=lambda program: program.verb is Phase.CONFIRM)
    assert x.state() is State.TESTING
    x.follow(but=lambda program: program.switch == "s2")
    assert x.state() is State.TESTING
    x.follow()
    assert x.state() is State.PRODUCTION
    assert {config.state for config in x.bundle.configs()} == {State.PRODUCTION}
    assert not x.bundle.services[0].status


def test_two_connections_of_one_switch_are_one_piece() -> None:
    x = Exchange()
    x.whole("a1", "b1", vlan=5)
    assert x.shown() == {("s1", "x"): (["swp1.5"], ["swp2.5"])}


def test_on_two_switches_a_tunnel_joins_the_pieces() -> None:
    x = Exchange()
    x.whole("a1", "b2", vlan=5)
    vni = 11 * 4096 + 2
    assert x.shown() == {
        ("s1", "x"): (["swp1.5"], [f"10.9.0.2 vni {vni}"]),
        ("s2", "x"): ([f"10.9.0.1 vni {vni}"], ["swp2.5"]),
    }
    ends = [end for piece in pieces(x.bundle, x.plant) for end in piece.a + piece.b if isinstance(end, TunnelEnd)]
    assert [str(end.local) for end in ends] == ["10.9.0.1", "10.9.0.2"]


def test_the_vni_at_an_nni_is_made_of_its_number_and_the_vlan() -> None:
    x = Exchange()
    x.whole("n1", "n2", vlan=77)
    assert x.shown()["s1", "x"][0] == [f"10.8.0.1 vni {101 * 4096 + 77}"]
    assert x.shown()["s2", "x"][1] == [f"10.7.0.1 vni {102 * 4096 + 77}"]


def test_a_whole_port_has_no_vlan() -> None:
    x = Exchange()
    x.service()
    x.config("one", "a1", WHOLE_PORT)
    x.config("one", "b1", 9)
    (piece,) = pieces(x.bundle, x.plant)
    assert piece.a == (AccessEnd("swp1", None),)


def test_both_ends_prefer_the_path_with_the_lower_number_whichever_was_ordered_first() -> None:
    for order in (("1", "2"), ("2", "1")):
        x = Exchange()
        for number in order:
            x.service("csp-a", "fed", number, ref=f"x#{number}@1")
            x.config(number, "a1")
            x.config(number, f"n{number}")
            x.follow()
        uplinks = x.shown()["s1", "x"][1]
        assert [uplink.split()[0] for uplink in uplinks] == ["10.8.0.1", "10.9.0.2"]


def test_services_that_protect_each_other_share_an_access_and_have_an_uplink_each() -> None:
    x = Exchange()
    x.service("csp-a", "fed", "one")
    x.config("one", "a1")
    x.config("one", "n1")
    x.follow()
    x.service("csp-a", "fed", "two")
    x.config("two", "a1")
    x.config("two", "n2")
    inner = 11 * 4096 + 2
    assert x.shown() == {
        ("s1", "x"): (["swp1.2"], [f"10.8.0.1 vni {101 * 4096 + 2}", f"10.9.0.2 vni {inner}"]),
        ("s2", "x#2"): ([f"10.9.0.1 vni {inner}"], [f"10.7.0.1 vni {102 * 4096 + 2}"]),
    }
    # The access has its label and its capacity once.
    held = claims(x.bundle, x.plant)
    assert ("connection/a1", 2) in held.labels
    assert dict(held.amounts)["connection/a1"] == 10
    # While the second is built the first keeps carrying, and is whole on its own.
    assert x.state("one") is State.PRODUCTION_CHANGE_PENDING
    x.follow(but=lambda program: program.switch == "s2")
    assert (x.state("one"), x.state("two")) == (State.PRODUCTION, State.ALLOCATED)
    x.follow()
    assert x.state("two") is State.PRODUCTION
    # The first goes; the second stays as it is called.
    x.give(ev.Cancelled("one", TODAY, DAY, x.now))
    x.follow()
    assert (x.state("one"), x.state("two")) == (State.DECOMMISSIONED, State.PRODUCTION)
    assert x.shown() == {
        ("s1", "x"): (["swp1.2"], [f"10.9.0.2 vni {inner}"]),
        ("s2", "x#2"): ([f"10.9.0.1 vni {inner}"], [f"10.7.0.1 vni {102 * 4096 + 2}"]),
    }
    assert ("connection/a1", 2) in claims(x.bundle, x.plant).labels


def test_services_that_share_nothing_are_pieces_apart_on_a_switch_between() -> None:
    x = Exchange()
    x.whole("n1", "n3", "one")
    x.whole("n1", "n3", "two")
    assert list(x.shown()) == [("s1", "x"), ("s1", "x#2")]
    labels = {label for place, label in claims(x.bundle, x.plant).labels if place == "connection/n1"}
    assert labels == {2, 3}, "an NNI is never shared"


@pytest.mark.parametrize(
    ("taken", "asked", "code"),
    [
        ({5}, 5, "vlan_taken"),
        ({WHOLE_PORT}, 5, "vlan_taken"),
        ({WHOLE_PORT}, None, "vlans_exhausted"),
        ({5}, WHOLE_PORT, "vlan_taken"),
        (set(range(2, 4095)), None, "vlans_exhausted"),
    ],
)
def test_a_label_is_given_out_once(taken: set[int], asked: int | None, code: str) -> None:
    x = Exchange(room=Room({"connection/a1": frozenset(taken)}))
    x.service()
    before = x.bundle
    with pytest.raises(MeetMeError) as caught:
        x.config("one", "a1", asked)
    assert (caught.value.code, caught.value.field) == (code, "vlan_config")
    assert x.bundle is before


def test_both_ends_on_one_connection_have_two_labels() -> None:
    x = Exchange()
    x.service("csp-a", "csp-a")
    x.config("one", "a1", 5)
    with pytest.raises(Conflict):
        x.config("one", "a1", 5, n="again")


def test_the_lowest_free_vlan_is_chosen() -> None:
    x = Exchange(room=Room({"connection/a1": frozenset({2, 3, 5})}))
    x.service()
    x.config("one", "a1")
    assert [config.vlan for config in x.bundle.configs()] == [4]


def test_no_more_than_what_may_be_ordered() -> None:
    x = Exchange(room=Room(used={"connection/a1": 995}))
    x.service()
    with pytest.raises(Exhausted) as caught:
        x.config("one", "a1", capacity=6)
    assert "left 5 of 1000" in caught.value.text
    x.config("one", "a1", capacity=5)


def test_without_a_capacity_it_takes_all_there_is() -> None:
    x = Exchange()
    x.service()
    x.config("one", "a1", capacity=None)
    assert dict(claims(x.bundle, x.plant).amounts)["connection/a1"] == 1000
    taken = Exchange(room=Room(used={"connection/a1": 1}))
    taken.service()
    with pytest.raises(Exhausted):
        taken.config("one", "a1", capacity=None)


def test_a_trunk_that_is_full_refuses_the_second_end() -> None:
    x = Exchange(room=Room(used={"trunk/s1-s2-11": 9995}))
    x.service()
    x.config("one", "a1")
    with pytest.raises(Exhausted, match="trunk"):
        x.config("one", "b2")
    x.config("one", "b1")


def test_switches_without_a_trunk_cannot_be_joined() -> None:
    x = Exchange(plant=settings(trunk=()).plant())
    x.service()
    x.config("one", "a1")
    with pytest.raises(Refused) as caught:
        x.config("one", "b2")
    assert caught.value.code == "switches_apart"


def test_a_third_end_and_a_strangers_end_are_refused() -> None:
    x = Exchange()
    x.service()
    x.config("one", "a1")
    for connection in ("a2", "n1"):
        with pytest.raises(Refused) as caught:
            x.config("one", connection)
        assert caught.value.code == "end_taken"


def test_a_switch_that_fails_is_said_and_tried_again() -> None:
    x = Exchange()
    x.whole("a1", "b2")
    first = next(program for program in x.owed if program.switch == "s2")
    x.follow(but=lambda program: program.switch == "s2")
    x.owed.clear()
    x.give(Failed("s2", "x", first.generation, Problem("no_bridge", "bridge: cannot be made"), x.now))
    assert x.state() is State.ERROR
    (again,) = x.owed
    assert (again.verb, again.generation) == (Phase.APPLY, first.generation)
    assert again.after > 0
    x.follow()
    assert x.state() is State.PRODUCTION


def test_a_switch_that_is_away_is_no_error() -> None:
    x = Exchange()
    x.whole("a1", "b1")
    (program,) = x.owed
    x.owed.clear()
    away = Problem("configurator_unreachable", "configurator: does not answer")
    x.give(Failed("s1", "x", program.generation, away, x.now))
    assert x.state() is State.ALLOCATED
    assert [status.tag for status in x.bundle.services[0].status] == ["switch_unreachable"]


def test_what_a_switch_has_rolled_back_is_applied_again() -> None:
    x = Exchange()
    x.whole("a1", "b1")
    x.follow(but=lambda program: program.verb is Phase.CONFIRM)
    (confirm,) = x.owed
    x.owed.clear()
    x.give(Lost("s1", "x", confirm.generation, x.now))
    assert x.state() is State.ALLOCATED
    assert [program.verb for program in x.owed] == [Phase.APPLY]
    x.follow()
    assert x.state() is State.PRODUCTION


def test_an_answer_to_an_order_that_was_replaced_changes_nothing() -> None:
    x = Exchange()
    x.whole("a1", "b1")
    (old,) = x.owed
    x.give(ev.Cancelled("one", TODAY, DAY, x.now))
    before = x.bundle
    x.give(Applied("s1", "x", old.generation, x.now))
    assert x.bundle == before


def test_what_is_cancelled_keeps_its_labels_until_the_switches_have_followed() -> None:
    x = Exchange()
    x.whole("a1", "b2")
    x.follow()
    had = claims(x.bundle, x.plant)
    x.give(ev.Cancelled("one", TODAY, DAY, x.now))
    assert x.state() is State.DECOMMISSION_REQUESTED
    x.follow(but=lambda program: program.switch == "s2")
    assert claims(x.bundle, x.plant) == had
    x.follow()
    assert x.state() is State.DECOMMISSIONED
    assert claims(x.bundle, x.plant) == ev.NOTHING
    assert not x.bundle.works
    x.give(ev.ArchiveDue(x.now))
    assert x.state() is State.ARCHIVED


def test_a_label_that_is_changed_is_kept_until_the_switch_has_followed() -> None:
    x = Exchange()
    x.whole("a1", "b1", vlan=5)
    x.follow()
    change = ev.ConfigChanged("one-a1", Owners("fed", "csp-a", "fed"), Papers(), (), 10, 6, "0x8100", x.room, x.now)
    x.give(change)
    assert x.state() is State.PRODUCTION_CHANGE_PENDING
    labels = {label for place, label in claims(x.bundle, x.plant).labels if place == "connection/a1"}
    assert labels == {5, 6}
    x.follow()
    labels = {label for place, label in claims(x.bundle, x.plant).labels if place == "connection/a1"}
    assert labels == {6}


def test_a_change_request_can_be_taken_back_while_it_is_not_in_force() -> None:
    x = Exchange()
    x.whole("a1", "b1", capacity=10)
    x.follow()
    x.give(ev.ChangeAsked("one", "p2p", 500, x.room, x.now))
    assert x.state() is State.PRODUCTION_CHANGE_PENDING
    with pytest.raises(Conflict):
        x.give(ev.ChangeAsked("one", "p2p", 600, x.room, x.now))
    x.give(ev.ChangeWithdrawn("one", x.room, x.now))
    assert dict(claims(x.bundle, x.plant).amounts)["connection/a1"] == 500, "a switch may have it"
    x.follow()
    assert dict(claims(x.bundle, x.plant).amounts)["connection/a1"] == 10
    assert [work.bandwidth for work in x.bundle.works] == [10]
    x.give(ev.ChangeAsked("one", "p2p", 500, x.room, x.now))
    x.follow()
    assert x.bundle.services[0].change is None
    assert [work.bandwidth for work in x.bundle.works] == [500]


def test_one_end_goes_and_another_comes() -> None:
    x = Exchange()
    x.whole("a1", "b1")
    x.follow()
    x.give(ev.Cancelled("one-b1", TODAY, DAY, x.now))
    assert [config.state for config in x.bundle.configs()] == [State.REQUESTED, State.DECOMMISSION_REQUESTED]
    x.follow()
    assert x.state() is State.REQUESTED
    assert not x.bundle.works
    x.config("one", "b2")
    x.follow()
    assert x.state() is State.PRODUCTION
    assert {switch for switch, _ in x.shown()} == {"s1", "s2"}


def test_what_ends_on_a_later_day_carries_until_then() -> None:
    x = Exchange()
    x.whole("a1", "b1")
    x.follow()
    later = date(2026, 5, 6)
    x.give(ev.Cancelled("one", Cancellation(later, later), DAY, x.now))
    assert x.state() is State.DECOMMISSION_REQUESTED
    assert not x.owed
    assert x.woken
    x.give(ev.DayCame(date(2026, 5, 5), x.now))
    assert not x.owed
    x.give(ev.DayCame(later, x.now))
    assert [program.verb for program in x.owed] == [Phase.REMOVE]


def test_generations_only_grow() -> None:
    x = Exchange()
    x.whole("a1", "b1")
    seen = [program.generation for program in x.owed]
    x.follow()
    x.now = 5.0  # the clock was set back
    x.give(ev.Cancelled("one", TODAY, DAY, x.now))
    assert x.owed[0].generation > max(seen)


def test_the_first_day_on_which_it_can_end() -> None:
    now = 1_000_000.0  # 12 January 1970
    assert terms(None, now, now, 0, 0) == Cancellation(date(1970, 1, 12), date(1970, 1, 12))
    assert terms(None, now, now, 30, 365) == Cancellation(date(1970, 2, 11), date(1971, 1, 12))
    assert terms(date(1972, 1, 1), now, now, 30, 365) == Cancellation(date(1972, 1, 1), date(1972, 1, 1))


def test_a_second_trunk_carries_the_second_service() -> None:
    trunks = settings().trunk
    second = replace(trunks[0], vni_base=12)
    x = Exchange(plant=settings(trunk=(*trunks, second)).plant())
    x.whole("a1", "b2", "one")
    x.whole("a1", "b2", "two")
    assert [service.hop.trunk for service in x.bundle.services] == ["s1-s2-11", "s1-s2-12"]
    assert x.shown()["s1", "x"][1] == [f"10.9.0.2 vni {11 * 4096 + 2}", f"10.9.0.2 vni {12 * 4096 + 2}"]


def test_an_event_for_nothing_is_a_mistake() -> None:
    with pytest.raises(LookupError):
        Course(settings().plant()).step(None, ev.ArchiveDue(0.0))
