"""What has to be built for a lab: the rule that turns its files into machines, wires and switches. Pure.

A collision domain with two ends is one veth pair; any other is a bridge in a namespace that belongs to no machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meetme.lab.labconf import LabConf, MachineConf

# A wire lets everything through. A bridge keeps some link-local groups (LLDP, 802.1X, LACP) to itself unless its ports
# are told otherwise; pause frames (01) cannot be let through, spanning tree (00) passes as the bridge runs none itself.
_PASS_LINK_LOCAL_GROUPS = 0xFFFD


@dataclass(frozen=True, slots=True)
class End:
    """One interface at one collision domain."""

    machine: str
    interface: str
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """A collision domain and everything that is joined to it."""

    name: str
    ends: tuple[End, ...]

    @property
    def is_wire(self) -> bool:
        """Whether two machines meet here directly, without a switch."""
        return len(self.ends) == 2


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """One machine: what lab.conf says of it, what starts it and whom it waits for."""

    conf: MachineConf
    startups: tuple[str, ...] = ()
    """File names, in order: `shared.startup`, then its own."""
    has_files: bool = False
    after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As in lab.conf."""
        return self.conf.name


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table that `up --dry-run`, `up` and `inspect` print: an interface, or a machine without any."""

    machine: str
    interface: str
    domain: str
    joined: str
    mac: str
    startup: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole lab, ready to be built."""

    name: str
    machines: tuple[MachinePlan, ...]
    domains: tuple[Domain, ...]
    notes: tuple[str, ...] = ()
    description: str = ""

    def rows(self) -> tuple[Row, ...]:
        """The plan as a table, in the order of lab.conf."""
        domains = {domain.name: domain for domain in self.domains}
        rows = []
        for machine in self.machines:
            startup = " ".join(machine.startups)
            if not machine.conf.interfaces:
                rows.append(Row(machine.name, "", "", "", "", startup))
            for interface in machine.conf.interfaces:
                domain = domains[interface.domain]
                others = [f"{end.machine}:{end.interface}" for end in domain.ends if end.machine != machine.name]
                rows.append(
                    Row(machine.name, interface.name, domain.name, " ".join(others), interface.mac or "", startup)
                )
        return tuple(rows)


def plan_lab(
    conf: LabConf,
    *,
    name: str,
    files: frozenset[str] = frozenset(),
    folders: frozenset[str] = frozenset(),
    after: Mapping[str, tuple[str, ...]] | None = None,
) -> Plan:
    """Plan what `conf` describes. `files` and `folders` are the names in the lab's directory, `after` its lab.dep."""
    order = after or {}
    machines = tuple(
        MachinePlan(
            conf=machine,
            startups=tuple(file for file in ("shared.startup", f"{machine.name}.startup") if file in files),
            has_files=machine.name in folders,
            after=order.get(machine.name, ()),
        )
        for machine in conf.machines
    )
    ends: dict[str, list[End]] = {}
    for machine in conf.machines:
        for interface in machine.interfaces:
            ends.setdefault(interface.domain, []).append(End(machine.name, interface.name, interface.mac))
    domains = tuple(Domain(domain, tuple(joined)) for domain, joined in ends.items())
    notes = []
    if conf.ignored:
        notes.append(f"lab.conf: ignored, they speak of containers: {', '.join(conf.ignored)}")
    if unrun := sorted(file for file in files if file.endswith(".shutdown")):
        notes.append(f"not run, `down` ends everything at once: {', '.join(unrun)}")
    return Plan(conf.name or name, machines, domains, tuple(notes), conf.description)


def link_commands(plan: Plan, process_of: Mapping[str, int]) -> tuple[str, ...]:
    """The links as one `ip -batch`, run in the switches' namespace; `process_of` gives a process in each machine's."""
    commands: list[str] = []
    ports = 0
    for index, domain in enumerate(plan.domains):
        if domain.is_wire:
            one, other = (_end(end, process_of) for end in domain.ends)
            commands.append(f"link add {one} type veth peer {other}")
            continue
        bridge = f"br{index}"
        commands.append(f"link add {bridge} type bridge mcast_snooping 0 stp_state 0")
        commands.append(f"link set {bridge} alias {domain.name} up")
        for end in domain.ends:
            port = f"p{ports}"
            ports += 1
            commands.append(f"link add {port} type veth peer {_end(end, process_of)}")
            commands.append(f"link set {port} master {bridge} up")
            commands.append(f"link set {port} type bridge_slave group_fwd_mask {_PASS_LINK_LOCAL_GROUPS}")
    return tuple(commands)


def _end(end: End, process_of: Mapping[str, int]) -> str:
    address = f" address {end.mac}" if end.mac else ""
    return f"name {end.interface} netns {process_of[end.machine]}{address}"
