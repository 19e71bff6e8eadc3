"""The grammar of lab.conf and lab.dep."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.lab.labconf import (
    IGNORED,
    RESERVED,
    Interface,
    LabConf,
    MachineConf,
    Mistake,
    parse_conf,
    parse_dependencies,
    stop_at,
)
from meetme.model.errors import InvalidInput

GOLDEN = Path(__file__).parent.parent / "golden" / "lab"


def parse(text: str) -> LabConf:
    mistakes: list[Mistake] = []
    conf = parse_conf(text, mistakes)
    assert [str(mistake) for mistake in mistakes] == []
    return conf


@pytest.mark.parametrize("file", sorted((GOLDEN / "conf").glob("*.conf")), ids=lambda file: file.stem)
def test_every_mistake_is_told_with_its_line(file: Path) -> None:
    mistakes: list[Mistake] = []
    parse_conf(file.read_text(), mistakes)
    with pytest.raises(InvalidInput) as raised:
        stop_at(mistakes)
    assert raised.value.text + "\n" == file.with_suffix(".txt").read_text()
    assert raised.value.code == "lab_invalid"


def test_every_mistake_of_the_dependencies_is_told() -> None:
    mistakes: list[Mistake] = []
    parse_dependencies((GOLDEN / "dependencies.dep").read_text(), ("r1", "r2", "r3"), mistakes)
    assert "".join(f"{mistake}\n" for mistake in mistakes) == (GOLDEN / "dependencies.txt").read_text()


def test_the_thesis_lab() -> None:
    conf = parse(
        "vm1[0]=A\n\nrouter1[0]=A\nrouter1[1]=B\nrouter1[2]=D\n\nrouter2[0]=C\nrouter2[1]=B\nrouter2[2]=D\nvm2[0]=C"
    )
    assert conf.machine_names == ("vm1", "router1", "router2", "vm2")
    assert conf.machines[1].interfaces == (Interface(0, "A"), Interface(1, "B"), Interface(2, "D"))
    assert conf.machines[1].interfaces[2].name == "eth2"


@pytest.mark.parametrize(
    ("line", "interface"),
    [
        ("r[0]=A", Interface(0, "A")),
        ('  r[0]="A"  ', Interface(0, "A")),
        ("r[0]='A'", Interface(0, "A")),
        ("r[0]=A   # to the left", Interface(0, "A")),
        ('r[0]="A" # to the left', Interface(0, "A")),
        ('r[0]="A/02:00:00:00:00:AB"', Interface(0, "A", "02:00:00:00:00:ab")),
        ("r[0]=lan_2/02:00:00:00:00:01", Interface(0, "lan_2", "02:00:00:00:00:01")),
        ("\ufeffr[0]=A\r", Interface(0, "A")),
    ],
)
def test_an_interface_as_kathara_takes_it(line: str, interface: Interface) -> None:
    assert parse(line).machines == (MachineConf("r", (interface,)),)


def test_interfaces_are_in_the_order_of_their_numbers() -> None:
    conf = parse("r[2]=C\nr[0]=A\nr[1]=B")
    assert [each.domain for each in conf.machines[0].interfaces] == ["A", "B", "C"]


def test_options_that_are_honoured() -> None:
    machine = parse(
        'r[0]=A\nr[sysctl]="net.ipv4.conf.all.rp_filter=2"\nr[sysctl]="net.ipv4.conf.all.rp_filter=1"\n'
        'r[env]="A=1=2"\nr[ipv6]="True"\nr[exec]="echo one"\nr[exec]="echo two"'
    ).machines[0]
    assert machine.sysctls == (("net.ipv4.conf.all.rp_filter", "1"),), "the later one counts, as in Kathara"
    assert machine.env == (("A", "1=2"),)
    assert machine.ipv6
    assert machine.commands == ("echo one", "echo two")


def test_options_of_containers_are_named_once() -> None:
    conf = parse('r[0]=A\nr[image]="kathara/frr"\nr[mem]="64m"\nq[image]="x"\nq[port]="80:80/tcp"\nr[bridged]=true')
    assert conf.ignored == ("bridged", "image", "mem", "port")
    assert conf.machines == (MachineConf("r", (Interface(0, "A"),)), MachineConf("q"))


def test_metadata() -> None:
    conf = parse("LAB_NAME=\"two words\"\nLAB_AUTHOR='me'\nLAB_VERSION=1\nr[0]=A")
    assert conf.name == "two words"
    assert dict(conf.metadata)["LAB_AUTHOR"] == "me"


def test_dependencies_are_gathered() -> None:
    mistakes: list[Mistake] = []
    after = parse_dependencies("# order\na: b c\n\nb:c\na: b", ("a", "b", "c"), mistakes)
    assert after == {"a": ("b", "c"), "b": ("c",)}
    assert not mistakes


NAMES = st.from_regex(r"[a-z0-9_]{1,30}", fullmatch=True).filter(lambda name: name not in RESERVED)
DOMAINS = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True)
MACS = st.integers(0, 2**46 - 1).map(
    lambda n: ":".join(f"{octet:02x}" for octet in ((n << 2) | 2 << 40).to_bytes(7)[1:])
)
VALUES = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Z"), exclude_characters="\"'#"), min_size=1, max_size=20
)


@st.composite
def machine_confs(draw: st.DrawFn, name: str) -> MachineConf:
    domains = draw(st.lists(DOMAINS, max_size=5, unique=True))
    macs = [draw(st.none() | MACS.filter(lambda mac: not int(mac[:2], 16) & 1)) for _ in domains]
    return MachineConf(
        name,
        interfaces=tuple(Interface(i, domain, mac) for i, (domain, mac) in enumerate(zip(domains, macs, strict=True))),
        sysctls=tuple(draw(st.dictionaries(st.sampled_from(["net.a.b-c", "net.ipv4.x"]), st.just("1"))).items()),
        env=tuple(draw(st.dictionaries(st.sampled_from(["A", "B_1"]), VALUES)).items()),
        ipv6=draw(st.booleans()),
        commands=tuple(draw(st.lists(VALUES, max_size=2))),
    )


@st.composite
def lab_confs(draw: st.DrawFn) -> LabConf:
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    ignored = tuple(sorted(draw(st.sets(st.sampled_from(IGNORED)))))
    return LabConf((("LAB_NAME", draw(VALUES)),), tuple(draw(machine_confs(name)) for name in names), ignored)


def render(conf: LabConf, quote: str) -> str:
    lines = [f"{key}={quote}{value}{quote}" for key, value in conf.metadata]
    for machine in conf.machines:
        entries = [("ipv6", str(machine.ipv6))]
        entries += [(str(i.number), f"{i.domain}/{i.mac}" if i.mac else i.domain) for i in reversed(machine.interfaces)]
        entries += [("sysctl", f"{key}={value}") for key, value in machine.sysctls]
        entries += [("env", f"{key}={value}") for key, value in machine.env]
        entries += [("exec", command) for command in machine.commands]
        lines += [f"{machine.name}[{argument}]={quote}{value}{quote}" for argument, value in entries]
    lines += [f"{conf.machines[0].name}[{option}]=x" for option in conf.ignored]
    return "\n# a comment\n\n".join(lines)


@given(lab_confs(), st.sampled_from(["", '"', "'"]))
def test_what_is_written_is_read_back(conf: LabConf, quote: str) -> None:
    assert parse(render(conf, quote)) == conf


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    mistakes: list[Mistake] = []
    parse_conf(text, mistakes)
    assert all(mistake.text for mistake in mistakes)
    assert mistakes or "[" in text
