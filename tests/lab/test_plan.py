"""From files to machines, wires and switches; and the pictures of it."""

from __future__ import annotations

from xml.etree import ElementTree

from meetme.lab import graph
from meetme.lab.labconf import parse_conf
from meetme.lab.plan import Plan, link_commands, plan_lab

CONF = """
a[0]=wire/02:00:00:00:00:01
b[0]=wire
b[1]=lan
c[0]=lan
d[0]=lan
d[1]=stub
e[image]=x
"""


def plan(conf: str = CONF, **facts: object) -> Plan:
    return plan_lab(parse_conf(conf, []), name="folder", **facts)  # type: ignore[arg-type]


def test_two_ends_are_a_wire_and_any_other_number_a_switch() -> None:
    assert {domain.name: domain.is_wire for domain in plan().domains} == {"wire": True, "lan": False, "stub": False}


def test_link_commands() -> None:
    process_of = {"a": 11, "b": 12, "c": 13, "d": 14, "e": 15}
    assert link_commands(plan(), process_of) == (
        "link add name eth0 netns 11 address 02:00:00:00:00:01 type veth peer name eth0 netns 12",
        "link add br1 type bridge mcast_snooping 0 stp_state 0",
        "link set br1 alias lan up",
        "link add p0 type veth peer name eth1 netns 12",
        "link set p0 master br1 up",
        "link set p0 type bridge_slave group_fwd_mask 65533",
        "link add p1 type veth peer name eth0 netns 13",
        "link set p1 master br1 up",
        "link set p1 type bridge_slave group_fwd_mask 65533",
        "link add p2 type veth peer name eth0 netns 14",
        "link set p2 master br1 up",
        "link set p2 type bridge_slave group_fwd_mask 65533",
        "link add br2 type bridge mcast_snooping 0 stp_state 0",
        "link set br2 alias stub up",
        "link add p3 type veth peer name eth1 netns 14",
        "link set p3 master br2 up",
        "link set p3 type bridge_slave group_fwd_mask 65533",
    )


def test_the_table_has_a_row_for_every_interface_and_for_a_machine_without_any() -> None:
    rows = plan(files=frozenset(("shared.startup", "a.startup"))).rows()
    assert [(row.machine, row.interface, row.domain, row.joined) for row in rows] == [
        ("a", "eth0", "wire", "b:eth0"),
        ("b", "eth0", "wire", "a:eth0"),
        ("b", "eth1", "lan", "c:eth0 d:eth0"),
        ("c", "eth0", "lan", "b:eth1 d:eth0"),
        ("d", "eth0", "lan", "b:eth1 c:eth0"),
        ("d", "eth1", "stub", ""),
        ("e", "", "", ""),
    ]
    assert rows[0].startup == "shared.startup a.startup"
    assert rows[1].startup == "shared.startup"


def test_files_folders_and_order() -> None:
    made = plan(folders=frozenset(("b", "shared", "docs")), after={"a": ("b",)})
    assert [(machine.name, machine.has_files, machine.after) for machine in made.machines[:2]] == [
        ("a", False, ("b",)),
        ("b", True, ()),
    ]


def test_what_is_ignored_is_said_once() -> None:
    assert plan(files=frozenset(("a.shutdown",))).notes == (
        "lab.conf: ignored, they speak of containers: image",
        "not run, `down` ends everything at once: a.shutdown",
    )


def test_a_lab_is_called_as_it_says_else_as_its_folder() -> None:
    assert plan().name == "folder"
    assert plan('LAB_NAME="x y"\na[0]=A').name == "x y"


def test_pictures_show_every_machine_and_domain() -> None:
    made = plan()
    assert graph.text(made).splitlines() == [
        "wire  a:eth0 --- b:eth0",
        "lan   [switch] b:eth1, c:eth0, d:eth0",
        "stub  [switch] d:eth1",
        "e stands alone",
    ]
    dot = graph.dot(made)
    assert '"a" -- "b" [label="wire"' in dot
    assert dot.count('"domain lan" -- ') == 3
    drawn = ElementTree.fromstring(graph.svg(made))
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(filter(None, texts)) == ["a", "b", "c", "d", "e", "lan", "stub", "wire"]
