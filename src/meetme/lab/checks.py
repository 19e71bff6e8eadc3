"""What a lab's `checks.toml` says: actions and checks, in order. Pure; every mistake is collected, with its step."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from re import ASCII, fullmatch
from typing import Any

from meetme.lab.labconf import Mistake, stop_at

AS_AGREED = "agreed"
"""Instead of an address that the receiver has to see: the one that the agreement tells."""
LOCAL_EXPERIMENT = 0x88B5
"""The ethertype of a check that names none: IEEE 802, local experimental."""


class Protocol(StrEnum):
    """What a check sends."""

    ICMP = "icmp"
    TCP = "tcp"
    UDP = "udp"
    ETHERNET = "ethernet"


class Expectation(StrEnum):
    """What must come of it."""

    REACHES = "reaches"
    """The receiver sees the nonce, and where the protocol answers, the sender sees the answer."""
    BLOCKED = "blocked"
    """Packets leave, none arrives, and a control packet shows that the receiver was listening."""
    PORT_UNREACHABLE = "port-unreachable"
    """The sender is told so by an ICMP error that quotes its own packet, and believes it."""
    TIME_EXCEEDED = "time-exceeded"
    """The same, from the hop where `ttl` ends."""
    TOO_BIG = "too-big"
    """The same, from the hop after which `size` does not fit."""
    UNBROKEN = "unbroken"
    """A stream ends here, and none of its packets was lost."""
    CLOSED = "closed"
    """A scan of all the receiver's addresses finds nothing but the echo of the one that answers probes."""

    @property
    def is_error(self) -> bool:
        """Whether an ICMP error is what must come."""
        return self in (Expectation.PORT_UNREACHABLE, Expectation.TIME_EXCEEDED, Expectation.TOO_BIG)


@dataclass(frozen=True, slots=True)
class Action:
    """A shell command on a machine that must succeed, in `within` seconds; with a name it is reported as checks are."""

    on: str
    run: str
    within: float = 60.0
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Packets from one machine to another.

    `address` None: found through the active agreements. `size` is the IP packet (icmp, udp) or the payload of the frame
    (ethernet) in octets, never fragmented, and for tcp the octets of the stream. `port` None: any free one. `within` is
    in seconds: so long it may take to reach, or so long nothing may arrive.

    `own` is the sender's address, its own or not; `via` the port on which its packets are written as frames, past the
    machine's own tables; `ttl` the hops that they live. Checks of one `flow` use the same sockets, which stay open. The
    numbered packets of a `stream` flow from the check that starts it to the one that expects them unbroken.
    `seen_as` is the source that the receiver has to see, `unseen_by` are machines that may see nothing of it.
    """

    name: str
    source: str
    to: str
    protocol: Protocol = Protocol.ICMP
    expect: Expectation = Expectation.REACHES
    address: str | None = None
    port: int | None = None
    size: int | None = None
    ethertype: int = LOCAL_EXPERIMENT
    within: float = 5.0
    own: str | None = None
    via: str | None = None
    ttl: int | None = None
    flow: str | None = None
    source_port: int | None = None
    family: int | None = None
    """4 or 6: which of the addresses that the agreements tell. None: the first."""
    stream: str | None = None
    seen_as: str | None = None
    """An address, or `AS_AGREED`."""
    unseen_by: tuple[str, ...] = ()
    real: str | None = None
    """Which of the addresses of `to` is meant. None: the first that an agreement tells."""
    viewer: str | None = None
    """Whose address for `to` is used; None: the sender's."""
    own6: str | None = None
    """Of a scan: the sender's address towards IPv6 addresses beyond the link; else it is the port's link-local one."""


Step = Action | Check

_ACTION_KEYS = frozenset(("name", "on", "run", "within"))
_PLAIN_KEYS = ("name", "from", "to", "address", "proto", "port", "size", "ethertype", "expect", "within")
_SENDER_KEYS = ("source", "source_port", "via", "ttl", "flow", "stream")
_CHECK_KEYS = frozenset((*_PLAIN_KEYS, *_SENDER_KEYS, "family", "seen_as", "unseen_by", "source6", "viewer", "real"))
_IN_VAIN_SECONDS = 0.25
"""So long a sender tries what must not arrive; the control packet that comes after it shows that it would have."""


def parse_checks(text: str, machines: tuple[str, ...], *, file: str = "checks.toml") -> tuple[Step, ...]:
    """Read a `checks.toml` for a lab with these machines. Raises InvalidInput that shows every mistake."""
    mistakes: list[Mistake] = []
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        mistakes.append(Mistake(file, 0, f"a file of checks is TOML ({wrong})"))
        stop_at(mistakes)
    mistakes += [
        Mistake(file, 0, f'there is nothing but [[step]] ("{key}")') for key in sorted(document) if key != "step"
    ]
    tables = document.get("step", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        mistakes.append(Mistake(file, 0, "steps are written [[step]] (step)"))
        tables = []
    steps: list[Step] = []
    names: set[str] = set()
    flows: dict[str, Check] = {}
    streams: dict[str, Check] = {}
    for number, table in enumerate(tables, start=1):
        reader = _Reader(table, machines, [])
        step = reader.action() if "run" in table or "on" in table else reader.check()
        if step.name is not None:
            if step.name in names:
                reader.wrong("name", "a name is given once", step.name)
            names.add(step.name)
        if isinstance(step, Check) and step.flow is not None:
            reader.continues(flows.setdefault(step.flow, step), step)
        if isinstance(step, Check) and step.stream is not None:
            reader.streams(streams, step)
        mistakes += [Mistake(file, 0, f"step {number}: {text}") for text in reader.mistakes]
        steps.append(step)
    stop_at(mistakes)
    return tuple(steps)


@dataclass(slots=True)
class _Reader:
    """Takes one table apart; what is wrong is noted and replaced by something harmless."""

    table: Mapping[str, Any]
    machines: tuple[str, ...]
    mistakes: list[str]

    def wrong(self, key: str, rule: str, seen: object) -> None:
        shown = f'"{seen}"' if isinstance(seen, str) else seen
        self.mistakes.append(f"{key}: {rule} ({'nothing' if seen is None else shown})")

    def action(self) -> Action:
        self._no_others(_ACTION_KEYS)
        name = self._text("name") if "name" in self.table else None
        return Action(on=self._machine("on"), run=self._text("run"), within=self._seconds(60.0), name=name)

    def check(self) -> Check:
        self._no_others(_CHECK_KEYS)
        protocol = self._choice("proto", Protocol, Protocol.ICMP)
        expect = self._choice("expect", Expectation, Expectation.REACHES)
        source, to = self._machine("from"), self._machine("to")
        if source and source == to:
            self.wrong("to", "a check needs two machines", to)
        self._fits(protocol, expect)
        return Check(
            name=self._text("name"),
            source=source,
            to=to,
            protocol=protocol,
            expect=expect,
            address=self._address(protocol),
            port=self._number("port", 1, 65535, only=(Protocol.TCP, Protocol.UDP), protocol=protocol),
            size=self._number("size", 64, 100_000_000),
            ethertype=self._ethertype(protocol),
            within=self._seconds(_IN_VAIN_SECONDS if expect in (Expectation.BLOCKED, Expectation.CLOSED) else 5.0),
            own=self._ip("source"),
            via=self._text("via") if "via" in self.table else None,
            ttl=self._number("ttl", 1, 255, only=(Protocol.ICMP, Protocol.UDP), protocol=protocol),
            flow=self._text("flow") if "flow" in self.table else None,
            source_port=self._number("source_port", 1, 65535, only=(Protocol.TCP, Protocol.UDP), protocol=protocol),
            family=self._family(),
            stream=self._text("stream") if "stream" in self.table else None,
            seen_as=self._seen_as(protocol),
            unseen_by=self._machines("unseen_by"),
            real=self._ip("real"),
            viewer=self._machine("viewer") if "viewer" in self.table else None,
            own6=self._ip("source6"),
        )

    def streams(self, running: dict[str, Check], check: Check) -> None:
        """A stream is started once and ended once, between the same two machines."""
        assert check.stream is not None
        started = running.pop(check.stream, None)
        if check.expect is not Expectation.UNBROKEN:
            running[check.stream] = check
            if started is not None:
                self.wrong("stream", "is started once, until it has ended", check.stream)
        elif started is None:
            self.wrong("stream", "has to be started before", check.stream)
        elif (check.source, check.to) != (started.source, started.to):
            self.wrong("stream", f"is from {started.source} to {started.to}", check.stream)

    def continues(self, first: Check, check: Check) -> None:
        """A flow has one pair of ends, told where it starts."""
        if check is first:
            return
        if (check.source, check.to, check.protocol) != (first.source, first.to, first.protocol):
            ends = f"{first.source} to {first.to} by {first.protocol}"
            self.wrong("flow", f"stays what it was when it started: {ends}", check.flow)
        for key in ("address", "port", "source", "ttl"):
            if key in self.table:
                self.wrong(key, f'is given where flow "{check.flow}" starts', self.table[key])

    def _fits(self, protocol: Protocol, expect: Expectation) -> None:
        """What goes together, and what each kind of check cannot do without."""
        if expect.is_error and protocol is not Protocol.UDP:
            self.wrong("proto", f"is udp, where {expect} is expected", protocol.value)
        needs = {Expectation.TIME_EXCEEDED: "ttl", Expectation.TOO_BIG: "size", Expectation.CLOSED: "via"}
        bare = protocol is Protocol.ETHERNET
        for key in (needs.get(expect), "source" if "via" in self.table and not bare else None):
            if key is not None and key not in self.table:
                self.wrong(key, f"has to be given, with {'via' if key == 'source' else expect}", None)
        if "via" in self.table and (protocol is Protocol.TCP or expect.is_error):
            self.wrong("via", "belongs to icmp, udp and ethernet that reach or do not", self.table["via"])
        if "flow" in self.table and (protocol not in (Protocol.TCP, Protocol.UDP) or expect.is_error):
            self.wrong("flow", "belongs to tcp and udp that reach or do not", self.table["flow"])
        self._stream_fits(protocol, expect)
        if "source" in self.table and protocol is Protocol.ETHERNET:
            self.wrong("source", "belongs to icmp, tcp and udp", self.table["source"])
        if "source6" in self.table and expect is not Expectation.CLOSED:
            self.wrong("source6", "belongs to closed", self.table["source6"])
        if expect is Expectation.CLOSED:
            for key in sorted(self.table.keys() & {"port", "proto", "size", "ttl", "flow"}):
                self.wrong(key, "is not chosen, with closed", self.table[key])

    def _stream_fits(self, protocol: Protocol, expect: Expectation) -> None:
        """A stream is of udp, starts where it reaches and ends where it is unbroken."""
        if (expect is Expectation.UNBROKEN) and "stream" not in self.table:
            self.wrong("stream", f"has to be given, with {expect}", None)
        if "stream" in self.table:
            if protocol is not Protocol.UDP or expect not in (Expectation.REACHES, Expectation.UNBROKEN):
                self.wrong("stream", "belongs to udp that reaches or is unbroken", self.table["stream"])
            for key in sorted(self.table.keys() & {"flow", "ttl", "via", "size", "unseen_by"}):
                self.wrong(key, "does not belong to a stream", self.table[key])

    def _no_others(self, keys: frozenset[str]) -> None:
        for key in sorted(self.table.keys() - keys):
            self.wrong(key, f"a step of this kind has {', '.join(sorted(keys))}", key)

    def _text(self, key: str) -> str:
        value = self.table.get(key)
        if not isinstance(value, str) or not value.strip():
            self.wrong(key, "has to be given, as text", value)
            return ""
        return value

    def _machine(self, key: str) -> str:
        value = self.table.get(key)
        if value not in self.machines:
            self.wrong(key, f"is one of {', '.join(self.machines)}", value)
            return ""
        return str(value)

    def _machines(self, key: str) -> tuple[str, ...]:
        value = self.table.get(key, [])
        if isinstance(value, list) and all(each in self.machines for each in value):
            return tuple(value)
        self.wrong(key, f"is a list of some of {', '.join(self.machines)}", value)
        return ()

    def _family(self) -> int | None:
        value = self.table.get("family")
        if value not in (None, 4, 6):
            self.wrong("family", "is 4 or 6", value)
        elif value is not None and "address" in self.table:
            self.wrong("family", "is that of the address, where one is given", value)
        for key in ("real", "viewer"):
            if key in self.table and "address" in self.table:
                self.wrong(key, "tells nothing, where an address is given", self.table[key])
        return value

    def _seen_as(self, protocol: Protocol) -> str | None:
        if "seen_as" in self.table and protocol is Protocol.ETHERNET:
            self.wrong("seen_as", "belongs to icmp, tcp and udp", self.table["seen_as"])
            return None
        return AS_AGREED if self.table.get("seen_as") == AS_AGREED else self._ip("seen_as")

    def _choice(self, key: str, kind: Callable[[str], Any], default: StrEnum) -> Any:
        value = self.table.get(key, default)
        try:
            return kind(value)
        except ValueError:
            self.wrong(key, f"is one of {', '.join(each.value for each in type(default))}", value)
            return default

    def _number(
        self,
        key: str,
        least: int,
        most: int,
        *,
        only: tuple[Protocol, ...] = tuple(Protocol),
        protocol: Protocol = Protocol.TCP,
    ) -> int | None:
        value = self.table.get(key)
        if value is None:
            return None
        if protocol not in only:
            self.wrong(key, f"belongs to {' and '.join(only)}", value)
        elif not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.wrong(key, f"is a number from {least} to {most}", value)
        else:
            return value
        return None

    def _ethertype(self, protocol: Protocol) -> int:
        value = self.table.get("ethertype", LOCAL_EXPERIMENT)
        if isinstance(value, str) and fullmatch(r"0[xX][0-9a-fA-F]{1,4}", value, ASCII):
            value = int(value, 16)
        if "ethertype" in self.table and protocol is not Protocol.ETHERNET:
            self.wrong("ethertype", "belongs to ethernet", value)
        elif not isinstance(value, int) or not 0x0600 <= value <= 0xFFFF:
            self.wrong("ethertype", "is a number from 0x0600 to 0xffff", value)
        else:
            return value
        return LOCAL_EXPERIMENT

    def _address(self, protocol: Protocol) -> str | None:
        value = self.table.get("address")
        if value is None:
            return None
        if protocol is Protocol.ETHERNET:
            if isinstance(value, str) and fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", value, ASCII):
                return value.lower()
            self.wrong("address", "is a MAC address, with ethernet", value)
            return None
        return self._ip("address")

    def _ip(self, key: str) -> str | None:
        value = self.table.get(key)
        if value is None:
            return None
        try:
            if not isinstance(value, str):
                raise ValueError
            return str(ip_address(value))
        except ValueError:
            self.wrong(key, "is an IP address", value)
            return None

    def _seconds(self, default: float) -> float:
        value = self.table.get("within", default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 600:
            self.wrong("within", "is a number of seconds up to 600", value)
            return default
        return float(value)
