"""What a Kathara lab says: the grammar of `lab.conf` and `lab.dep`, as Kathara reads them. Pure.

A line of `lab.conf` is blank, a comment, `LAB_NAME="..."` and its like, `MACHINE[NUMBER]="DOMAIN"` or `DOMAIN/MAC`
(an interface), or `MACHINE[OPTION]="VALUE"`. A line of `lab.dep` is `MACHINE: MACHINE...`: it starts after the others.
Every mistake is collected, with file and line, so that a person sees all of them at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from meetme.model.errors import InvalidInput

METADATA = ("LAB_NAME", "LAB_DESCRIPTION", "LAB_VERSION", "LAB_AUTHOR", "LAB_EMAIL", "LAB_WEB")
HONOURED = ("env", "exec", "ipv6", "sysctl")
IGNORED = (
    "args",
    "bridged",
    "cpus",
    "entrypoint",
    "image",
    "mem",
    "num_terms",
    "port",
    "privileged",
    "shell",
    "ulimit",
    "volume",
)
RESERVED = ("shared", "_test")

_ENTRY = re.compile(r"(?P<machine>[^\[\]=]*)\[(?P<argument>[^\]]*)\]=(?P<value>.*)", re.ASCII)
_MACHINE = re.compile(r"[a-z0-9_]{1,30}", re.ASCII)
_VALUE = re.compile(r"(?P<quote>[\"']?)(?P<text>[^\"']+?)(?P=quote)(\s+#.*)?")
_ATTACHMENT = re.compile(r"(?P<domain>\w+)(/(?P<mac>([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}))?", re.ASCII)
_SYSCTL = re.compile(r"(?P<key>net\.([\w-]+\.)+[\w-]+)\s*=\s*(?P<value>[^=]*)", re.ASCII)
_ENV = re.compile(r"(?P<key>[A-Za-z_]\w*)=(?P<value>.*)", re.ASCII)
_DEPENDENCY = re.compile(r"(?P<machine>\w+)\s*:\s*(?P<others>\w+(\s+\w+)*)", re.ASCII)
_BOOLEANS = {
    **dict.fromkeys(("y", "yes", "t", "true", "on", "1"), True),
    **dict.fromkeys(("n", "no", "f", "false", "off", "0"), False),
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, and where: `lab.conf:3: ...`. `line` 0 speaks of the whole file."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


def stop_at(mistakes: list[Mistake]) -> None:
    """Raise InvalidInput that shows every mistake, one a line, if there is any."""
    if mistakes:
        raise InvalidInput("lab_invalid", "\n".join(str(mistake) for mistake in mistakes))


@dataclass(frozen=True, slots=True)
class Interface:
    """`ethN` of a machine. `mac` None: any."""

    number: int
    domain: str
    mac: str | None = None

    @property
    def name(self) -> str:
        """As it is called in the machine."""
        return f"eth{self.number}"


@dataclass(frozen=True, slots=True)
class MachineConf:
    """What `lab.conf` says of one machine; interfaces in the order of their numbers."""

    name: str
    interfaces: tuple[Interface, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    ipv6: bool = False
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabConf:
    """A whole `lab.conf`. Machines in the order of their first mention; `ignored`: options that do nothing here."""

    metadata: tuple[tuple[str, str], ...] = ()
    machines: tuple[MachineConf, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def name(self) -> str | None:
        """What LAB_NAME says."""
        return dict(self.metadata).get("LAB_NAME")

    @property
    def description(self) -> str:
        """What LAB_DESCRIPTION says."""
        return dict(self.metadata).get("LAB_DESCRIPTION", "")

    @property
    def machine_names(self) -> tuple[str, ...]:
        """Every machine, in order."""
        return tuple(machine.name for machine in self.machines)


@dataclass(slots=True)
class _Draft:
    machine: MachineConf
    line: int
    numbers: dict[int, int] = field(default_factory=dict)


def parse_conf(text: str, mistakes: list[Mistake], *, file: str = "lab.conf") -> LabConf:
    """Read a `lab.conf`; what is wrong is appended to `mistakes` and left out of the result."""
    metadata: dict[str, str] = {}
    drafts: dict[str, _Draft] = {}
    ignored: set[str] = set()
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            key, equals, value = line.partition("=")
            if equals and key in METADATA:
                metadata[key] = value.replace('"', "").replace("'", "").strip()
                continue
            machine, argument, value = _entry(line)
            draft = drafts.setdefault(machine, _Draft(MachineConf(machine), number))
            if argument.isdecimal():
                _attach(draft, int(argument), value, number)
            elif argument in IGNORED:
                ignored.add(argument)
            else:
                draft.machine = _set_option(draft.machine, argument, value)
        except ValueError as wrong:
            mistakes.append(Mistake(file, number, str(wrong)))
    if not drafts and not mistakes:
        mistakes.append(Mistake(file, 0, "a lab has at least one machine (none named)"))
    for draft in drafts.values():
        numbers = sorted(draft.numbers)
        missing = next((index for index, seen in enumerate(numbers) if index != seen), None)
        if missing is not None:
            found = numbers[missing]
            text = f'interfaces are numbered from 0 without a gap ("{draft.machine.name}" has {found}, not {missing})'
            mistakes.append(Mistake(file, draft.numbers[found], text))
    mistakes.sort(key=lambda mistake: mistake.line)
    machines = (
        replace(draft.machine, interfaces=tuple(sorted(draft.machine.interfaces, key=lambda each: each.number)))
        for draft in drafts.values()
    )
    return LabConf(tuple(metadata.items()), tuple(machines), tuple(sorted(ignored)))


def _entry(line: str) -> tuple[str, str, str]:
    entry = _ENTRY.fullmatch(line)
    if entry is None:
        raise ValueError(f'a line is MACHINE[NUMBER]="DOMAIN" or MACHINE[OPTION]="VALUE" ({line})')
    machine, argument = entry["machine"], entry["argument"]
    if not _MACHINE.fullmatch(machine):
        raise ValueError(
            f'a machine\'s name is 1 to 30 of a-z, 0-9 and _, with no blank before the bracket ("{machine}")'
        )
    if machine in RESERVED:
        raise ValueError(f'this name is reserved ("{machine}")')
    value = _VALUE.fullmatch(entry["value"])
    if value is None:
        raise ValueError(f"a value is plain or in one pair of quotes, and not empty ({entry['value'] or 'nothing'})")
    return machine, argument, value["text"]


def _attach(draft: _Draft, number: int, value: str, line: int) -> None:
    machine = draft.machine
    if number in draft.numbers:
        raise ValueError(
            f'an interface is given once ("{machine.name}[{number}]" is in line {draft.numbers[number]} too)'
        )
    draft.numbers[number] = line
    attachment = _ATTACHMENT.fullmatch(value)
    if attachment is None:
        rule = "an interface is joined to DOMAIN or DOMAIN/MAC, a domain being letters, digits and _"
        raise ValueError(f'{rule} ("{value}")')
    domain = attachment["domain"]
    if any(each.domain == domain for each in machine.interfaces):
        raise ValueError(f'a machine joins a domain once ("{machine.name}" is in "{domain}" already)')
    interface = Interface(number, domain, attachment["mac"].lower() if attachment["mac"] else None)
    if interface.mac is not None and int(interface.mac[:2], 16) & 1:
        raise ValueError(f"a MAC address of an interface is not a group address ({interface.mac})")
    draft.machine = replace(machine, interfaces=(*machine.interfaces, interface))


def _set_option(machine: MachineConf, option: str, value: str) -> MachineConf:
    match option:
        case "exec":
            return replace(machine, commands=(*machine.commands, value))
        case "ipv6":
            if value.lower() not in _BOOLEANS:
                raise ValueError(f'"ipv6" is true or false ("{value}")')
            return replace(machine, ipv6=_BOOLEANS[value.lower()])
        case "sysctl":
            if (found := _SYSCTL.fullmatch(value)) is None:
                raise ValueError(f'"sysctl" is KEY=VALUE with a key below net. ("{value}")')
            return replace(machine, sysctls=_with(machine.sysctls, found["key"], found["value"].strip()))
        case "env":
            if (found := _ENV.fullmatch(value)) is None:
                raise ValueError(f'"env" is NAME=VALUE ("{value}")')
            return replace(machine, env=_with(machine.env, found["key"], found["value"]))
        case _:
            known = ", ".join(sorted((*HONOURED, *IGNORED)))
            raise ValueError(f'an index is a number or one of {known} ("{option}")')


def _with(pairs: tuple[tuple[str, str], ...], key: str, value: str) -> tuple[tuple[str, str], ...]:
    return tuple({**dict(pairs), key: value}.items())


def parse_dependencies(
    text: str, machines: tuple[str, ...], mistakes: list[Mistake], *, file: str = "lab.dep"
) -> dict[str, tuple[str, ...]]:
    """Read a `lab.dep`: for a machine those that must have started before it. Mistakes as in `parse_conf`."""
    after: dict[str, tuple[str, ...]] = {}
    lines: dict[str, int] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = _DEPENDENCY.fullmatch(line)
        if found is None:
            mistakes.append(Mistake(file, number, f"a line is MACHINE: MACHINE... ({line})"))
            continue
        machine, others = found["machine"], tuple(found["others"].split())
        unknown = [name for name in (machine, *others) if name not in machines]
        mistakes += [Mistake(file, number, f'no such machine in lab.conf ("{name}")') for name in unknown]
        if not unknown:
            after[machine] = tuple(dict.fromkeys((*after.get(machine, ()), *others)))
            lines.setdefault(machine, number)
    started: set[str] = set()
    waiting = dict(after)
    while ready := [name for name in waiting if not set(waiting[name]) & (waiting.keys() - started)]:
        for name in ready:
            del waiting[name]
            started.add(name)
    if waiting:
        name = next(iter(waiting))
        mistakes.append(Mistake(file, lines[name], f"machines cannot wait for each other ({', '.join(waiting)})"))
    return after
