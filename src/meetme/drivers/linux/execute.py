"""Doing the steps: `ip` in batches, `nft` from standard input, the rest in-process. Blocking.

Four processes make a circuit: faster than a netlink library in Python, and the very commands a person types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import groupby
from threading import Lock
from typing import TypeVar

from meetme.drivers.kernel import netns, tables
from meetme.drivers.kernel.commands import batch, refusal, run, set_all
from meetme.drivers.kernel.netlink import Netlink
from meetme.drivers.linux import conntrack
from meetme.drivers.linux.config import CircuitConfig, PortBefore
from meetme.drivers.linux.difference import (
    DropNamespace,
    ForgetFlows,
    Ip,
    Load,
    MakeNamespace,
    Set,
    Step,
    TakePort,
)
from meetme.drivers.linux.names import Names, names
from meetme.drivers.linux.notes import Note
from meetme.drivers.linux.observe import Places
from meetme.model.errors import Conflict, DeviceFailed, NotFound

T = TypeVar("T")


class Execution:
    """The steps of one circuit's change."""

    def __init__(self, circuit: str, want: CircuitConfig | None, places: Places) -> None:
        self._own: Names = names(circuit)
        self._circuit = circuit
        self._want = want
        self._places = places
        self._writing = Lock()

    def run(self, steps: Sequence[Step]) -> None:
        """All of them, in order. Raises MeetMeError or OSError at the first that fails.

        But for one thing: a ruleset loads while the port moves, which takes the kernel 20 ms and needs no processor. No
        packet can tell: the port has no address before both are done.
        """
        with ThreadPoolExecutor(1, "meetme-ruleset") as aside:
            loading: Future[None] | None = None
            for (kind, namespace, version), group in groupby(steps, key=_batch):
                together = list(group)
                if loading is not None and not (kind is Ip and not namespace):
                    loading.result()
                if kind is Load:
                    loading = aside.submit(self._load, together[0])
                elif kind is Ip:
                    self._lines(together, namespace, version)
                elif kind is Set:
                    settings = [(step.sysctl.key, step.sysctl.value) for step in together if isinstance(step, Set)]
                    self._at(namespace, partial(set_all, settings))
                else:
                    for step in together:
                        self._one(step)
            if loading is not None:
                loading.result()

    def _lines(self, steps: Sequence[Step], namespace: str, version: int) -> None:
        """Lines of `ip`, all in one call."""
        lines: list[str] = []
        for step in steps:
            if isinstance(step, TakePort):
                if step.note:
                    before = _port_before(step.device)
                    with self._writing:
                        self._note(before=before)
                path = self._places.namespace(self._own) or self._places.public(self._own)
                lines.append(f"link set dev {step.device} netns {path}")
            elif isinstance(step, Ip):
                lines.append(step.line)
        self._at(namespace, partial(batch, lines, "ip", *(["-6"] if version == 6 else [])))

    def _load(self, step: Step) -> None:
        if isinstance(step, Load):
            generation = self._at(self._own.namespace, partial(_load, step.script))
            with self._writing:
                self._note(ruleset=step.text, generation=generation)

    def _one(self, step: Step) -> None:
        match step:
            case MakeNamespace():
                self._make_namespace()
            case DropNamespace():
                self._drop_namespace()
            case ForgetFlows(namespace, ()):
                self._at(namespace, conntrack.forget_all)
            case ForgetFlows(namespace, prefixes):
                self._at(namespace, partial(conntrack.forget, prefixes))
            case _:
                raise AssertionError(step)

    def _at(self, namespace: str, f: Callable[[], T]) -> T:
        """Run `f` in the router, or inside the circuit's namespace."""
        if not namespace:
            return f()
        path = self._places.namespace(self._own)
        if path is None:
            raise DeviceFailed("namespace_gone", f'namespace: "{namespace}" is not there any more')
        return netns.inside(path, f)

    def _note(self, **changes: object) -> None:
        note = self._places.notes.read(self._own.namespace)
        if note is None:
            path = self._places.namespace(self._own)
            note = self._first_note((netns.identity(path) or 0) if path is not None else 0)
        self._places.notes.write(self._own.namespace, replace(note, **changes))  # type: ignore[arg-type]

    def _first_note(self, namespace: int) -> Note:
        want = self._want
        return Note(
            circuit=self._circuit,
            router=netns.identity() or 0,
            namespace=namespace,
            port=want.port if want is not None else "",
            vlan=want.vlan if want is not None else None,
            tracked=want.tracked if want is not None else (),
        )

    def _make_namespace(self) -> None:
        """Both names, for one namespace: the one that lives under either of them, or a new one."""
        kept, public = self._places.kept(self._own), self._places.public(self._own)
        if netns.alive(kept) and netns.alive(public) and netns.identity(kept) != netns.identity(public):
            raise Conflict(
                "namespace_in_use",
                f'namespace: "{public.name}" is somebody else\'s',
                hint=f"rename it or remove it: ip netns del {public.name}",
            )
        missing = [path for path in (kept, public) if not netns.alive(path)]
        alive = self._places.namespace(self._own)
        if alive is not None:
            for path in missing:
                netns.bind(alive, path)
            return

        def both() -> int:
            for path in (kept, public):
                netns.keep(path)
            return netns.identity("/proc/thread-self/ns/net") or 0

        self._places.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = self._places.notes.read(self._own.namespace)
        note = self._first_note(netns.fresh(both))
        if before is not None:  # the namespace died under us, the port may be back: what it was like is still true
            note = replace(note, before=before.before)
        self._places.notes.write(self._own.namespace, note)

    def _drop_namespace(self) -> None:
        kept, public = self._places.kept(self._own), self._places.public(self._own)
        foreign = netns.alive(kept) and netns.alive(public) and netns.identity(kept) != netns.identity(public)
        for path in (kept,) if foreign else (kept, public):
            netns.let_go(path)
        self._places.notes.drop(self._own.namespace)


def _batch(step: Step) -> tuple[type, str, int]:
    """What may go together in one call: kind, namespace, family."""
    match step:
        case Ip():
            return (Ip, step.namespace, step.version)
        case TakePort():
            return (Ip, "", 4)
        case Set():
            return (Set, step.namespace, 0)
        case _:
            return (type(step), "", 0)


def _load(text: str) -> int:
    before = tables.ruleset_generation()
    done = run(["nft", "-f", "-"], text)
    if done.returncode != 0:
        raise refusal("nft -f -", done.stderr)
    after = tables.ruleset_generation()
    return after if after == before + 1 else 0


def _port_before(device: str) -> PortBefore:
    with Netlink() as netlink:
        link = tables.link_named(netlink, device)
        if link is None:
            raise NotFound("port_unknown", f'port: the router has no port "{device}"', field="port")
        if link.master:
            raise Conflict(
                "port_in_use",
                f'port: "{device}" is a member of a bridge or bond',
                field="port",
                hint=f"ip link set dev {device} nomaster",
            )
        held = list(tables.addresses(netlink, link.index))
    return PortBefore(
        mtu=link.mtu,
        up=link.up,
        alias=link.alias,
        mac=link.mac,
        addresses=tuple(a.address for a in held if not a.automatic),
        sysctls=tables.own_settings(device),
    )
