"""What a composer is told before it starts, and what it says of its exchange."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from meetme.composer.capacity import Claim, Limit, access, link, transit
from meetme.composer.domain import Domain
from meetme.composer.settings import ComposerSettings, PortSettings, TransitSettings
from meetme.composer.words import End, Hop
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput
from meetme.runtime.settings import SettingsFile, resolve

ME = MemberId("ixp-1")
PORTS = (
    PortSettings("a1", 100, member="csp-a", vlans="none"),
    PortSettings("n2", 1600, neighbour="ixp-2", neighbour_port="n1", vlans="10-19", mtu=9000),
)
GOOD = ComposerSettings("memory", port=PORTS, transit=(TransitSettings(0.5, 800),), mandates=(MemberId("csp-b"),))
DOMAIN = Domain(ME, GOOD)


def port(**changes: object) -> tuple[PortSettings, ...]:
    return (replace(PORTS[0], **changes), PORTS[1])


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"exchange": "ixp.example"}, "exchange_url_invalid"),
        ({"exchange": "https://ixp.example/api/v2"}, "setting_missing"),
        ({"lifetime": 1.0}, "lifetime_invalid"),
        ({"interval": 0.0}, "interval_invalid"),
        ({"port": (PORTS[0], PORTS[0])}, "port_twice"),
        ({"port": port(member=None)}, "port_invalid"),
        ({"port": port(member="ixp-1")}, "port_invalid"),
        ({"port": port(member="No")}, "member_id_malformed"),
        ({"port": port(bandwidth=0)}, "port_invalid"),
        ({"port": port(vlans="1-5000")}, "vlans_invalid"),
        ({"port": port(neighbour="ixp-9", member=None)}, "port_invalid"),
        ({"transit": (TransitSettings(1.0, 1, a="zz"),)}, "transit_port_unknown"),
    ],
)
def test_what_makes_settings_unusable_is_named(changed: dict[str, object], code: str) -> None:
    GOOD.check(ME)
    with pytest.raises(InvalidInput) as caught:
        replace(GOOD, **changed).check(ME)
    assert code in {problem.code for problem in caught.value.problems}


def test_the_page_about_it_can_be_copied(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/run-a-composer.md").read_text()
    file = tmp_path / "meetme.toml"
    file.write_text(page.partition("```toml\n")[2].partition("```")[0])
    tables = SettingsFile.read(file, services=["composer"])
    settings = resolve(ComposerSettings, "composer", file=tables, environ={}, flags={})
    settings.check(ME)
    assert [each.id for each in settings.port] == ["conn-4711", "conn-0815"]


def test_only_what_is_sure_to_stay_is_told_as_taken() -> None:
    through = transit(Hop(ME, "a1", "n2"))
    held = [Claim(link("n2"), "1@1", 10, 800, firm=True), Claim(link("n2"), "1@2", 11, 800, firm=False)]
    access_point, nni = DOMAIN.points([*held, Claim(access("a1"), "", None, 10, firm=True)])
    assert (access_point.bandwidth, access_point.vlans) == (0, None), "a circuit takes the whole port"
    assert nni.bandwidth == 800
    everywhere, pair = DOMAIN.transits([Claim(through, "1@1", None, 400, firm=True)])
    assert (everywhere.a, everywhere.bandwidth) == ("*", 800)
    assert (pair.a, pair.b, pair.bandwidth) == ("a1", "n2", 400)


def test_how_much_there_is() -> None:
    assert DOMAIN.limit(access("a1")) == Limit(100)
    assert DOMAIN.limit(link("n2")) == Limit(1600, ((10, 19),))
    assert DOMAIN.limit(transit(Hop(ME, "n2", "a1"))) == Limit(800)
    for nothing in (access("n2"), link("a1"), link("zz"), transit(Hop(ME, "a1", "zz"))):
        assert DOMAIN.limit(nothing) is None


def test_who_may_join_a_port() -> None:
    a, b = MemberId("csp-a"), MemberId("csp-b")

    def code(end: End, by: MemberId) -> str | None:
        problem = DOMAIN.end_problem(end, by, "a")
        return problem.code if problem else None

    assert code(End(a, "a1"), a) is None
    assert code(End(a, "a1"), b) == "mandate_missing"
    assert code(End(b, "a1"), b) == "port_of_another"
    assert code(End(a, "n2"), a) == "port_unknown"
    assert Domain(ME, replace(GOOD, mandates=(a,))).end_problem(End(a, "a1"), b, "a") is None


def test_a_way_must_lead_where_the_neighbour_says() -> None:
    here, there = Hop(ME, "a1", "n2"), Hop(MemberId("ixp-2"), "n1", "b1")
    assert DOMAIN.way_problem((here, there), 0, 1500) is None
    wrong = DOMAIN.way_problem((here, replace(there, in_port="n9")), 0, 1500)
    assert wrong is not None
    assert wrong.code == "link_unknown"
    large = DOMAIN.way_problem((here, there), 0, 9000)
    assert large is not None
    assert large.code == "mtu_too_large"
