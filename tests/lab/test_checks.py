"""The grammar of checks.toml, and the checks that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from meetme.lab.checks import Action, Check, Expectation, Protocol, parse_checks
from meetme.lab.source import read_lab, shipped_labs
from meetme.model.errors import InvalidInput

GOLDEN = Path(__file__).parent.parent / "golden" / "lab" / "checks"
MACHINES = ("vm1", "vm2")


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.toml")), ids=lambda file: file.stem)
def test_every_mistake_is_told_with_its_step(file: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_checks(file.read_text(), MACHINES)
    assert raised.value.text + "\n" == file.with_suffix(".txt").read_text()


def test_what_is_no_toml_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^checks.toml: a file of checks is TOML \("):
        parse_checks("step = [", MACHINES)


def test_steps_in_order_with_their_defaults() -> None:
    text = """
        [[step]]
        name = "ping"
        from = "vm1"
        to = "vm2"
        [[step]]
        on = "vm1"
        run = "true"
        [[step]]
        name = "frame"
        from = "vm2"
        to = "vm1"
        proto = "ethernet"
        ethertype = "0x88CC"
        address = "01:80:C2:00:00:0E"
        expect = "blocked"
    """
    assert parse_checks(text, MACHINES) == (
        Check("ping", "vm1", "vm2", within=5.0),
        Action("vm1", "true"),
        Check(
            "frame",
            "vm2",
            "vm1",
            protocol=Protocol.ETHERNET,
            expect=Expectation.BLOCKED,
            address="01:80:c2:00:00:0e",
            ethertype=0x88CC,
            within=0.25,
        ),
    )


def test_errors_flows_wires_and_scans() -> None:
    text = """
        [[step]]
        name = "error"
        from = "vm1"
        to = "vm2"
        proto = "udp"
        ttl = 2
        expect = "time-exceeded"
        [[step]]
        name = "start"
        from = "vm1"
        to = "vm2"
        address = "100.64.0.2"
        proto = "tcp"
        flow = "long"
        [[step]]
        name = "as before"
        on = "vm1"
        run = "true"
        [[step]]
        name = "end"
        from = "vm1"
        to = "vm2"
        proto = "tcp"
        flow = "long"
        expect = "blocked"
        [[step]]
        name = "scan"
        from = "vm1"
        via = "eth0"
        source = "10.0.0.66"
        to = "vm2"
        expect = "closed"
        [[step]]
        name = "bare"
        from = "vm1"
        via = "eth0"
        to = "vm2"
        proto = "ethernet"
        size = 9000
    """
    tcp = Protocol.TCP
    assert parse_checks(text, MACHINES) == (
        Check("error", "vm1", "vm2", protocol=Protocol.UDP, ttl=2, expect=Expectation.TIME_EXCEEDED),
        Check("start", "vm1", "vm2", protocol=tcp, address="100.64.0.2", flow="long"),
        Action("vm1", "true", name="as before"),
        Check("end", "vm1", "vm2", protocol=tcp, flow="long", expect=Expectation.BLOCKED, within=0.25),
        Check("scan", "vm1", "vm2", via="eth0", own="10.0.0.66", expect=Expectation.CLOSED, within=0.25),
        Check("bare", "vm1", "vm2", protocol=Protocol.ETHERNET, via="eth0", size=9000),
    )


def test_streams_and_who_sees_what() -> None:
    text = """
        [[step]]
        name = "starts"
        from = "vm1"
        to = "vm2"
        proto = "udp"
        source_port = 4000
        stream = "one"
        family = 6
        [[step]]
        name = "is seen"
        from = "vm1"
        to = "vm2"
        seen_as = "FD00::2"
        unseen_by = ["vm1"]
        [[step]]
        name = "ends"
        from = "vm1"
        to = "vm2"
        proto = "udp"
        stream = "one"
        expect = "unbroken"
        [[step]]
        name = "starts anew"
        from = "vm2"
        to = "vm1"
        proto = "udp"
        stream = "one"
    """
    udp = Protocol.UDP
    assert parse_checks(text, MACHINES) == (
        Check("starts", "vm1", "vm2", protocol=udp, source_port=4000, stream="one", family=6),
        Check("is seen", "vm1", "vm2", seen_as="fd00::2", unseen_by=("vm1",)),
        Check("ends", "vm1", "vm2", protocol=udp, stream="one", expect=Expectation.UNBROKEN),
        Check("starts anew", "vm2", "vm1", protocol=udp, stream="one"),
    )


@pytest.mark.parametrize("name", sorted(shipped_labs()))
def test_the_labs_that_ship_are_in_order(name: str) -> None:
    directory = shipped_labs()[name]
    plan = read_lab(directory).plan
    machines = tuple(machine.name for machine in plan.machines)
    assert parse_checks((directory / "checks.toml").read_text(), machines)
    assert plan.name == name
    assert plan.notes == ()


def test_what_the_thesis_lab_changes_by_hand_it_changes_back() -> None:
    directory = shipped_labs()["thesis"]
    steps = parse_checks((directory / "checks.toml").read_text(), ("vm1", "vm2", "router1", "router2"))
    done = [step.run for step in steps if isinstance(step, Action)]
    for there, back in (("mtu 1400", "mtu 1500"), (" add 10.0.0.77", " del 10.0.0.77"), ("-STOP", "-CONT")):
        changed = [run for run in done if there in run]
        assert changed
        assert sorted(run for run in done if back in run) == sorted(run.replace(there, back) for run in changed)
        assert max(map(done.index, changed)) < max(i for i, run in enumerate(done) if back in run)


def test_the_thesis_lab_is_that_of_the_thesis() -> None:
    plan = read_lab(shipped_labs()["thesis"]).plan
    assert [(row.machine, row.interface, row.domain) for row in plan.rows()] == [
        ("vm1", "eth0", "A"),
        ("router1", "eth0", "A"),
        ("router1", "eth1", "B"),
        ("router1", "eth2", "D"),
        ("router2", "eth0", "C"),
        ("router2", "eth1", "B"),
        ("router2", "eth2", "D"),
        ("vm2", "eth0", "C"),
    ]
    assert all(domain.is_wire for domain in plan.domains)
