"""Doing the steps: lines of `ip`, `bridge` and `tc` in batches, settings in-process. Blocking."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from meetme.drivers.fabric import observe
from meetme.drivers.fabric.config import Member, PortBefore, SegmentConfig, Tunnel, Vlan, bridge_name
from meetme.drivers.fabric.difference import NotePort, Run, Set, Step
from meetme.drivers.fabric.notes import Note, Notes
from meetme.drivers.kernel import tables
from meetme.drivers.kernel.commands import batch, set_all


class Execution:
    """The steps of one circuit's change."""

    def __init__(self, circuit: str, want: SegmentConfig | None, notes: Notes) -> None:
        self._circuit = circuit
        self._notes = notes
        self._wished = _devices(want) if want is not None else ()
        self._fresh: tuple[str, ...] = ()
        self._ports = want.ports if want is not None else frozenset()

    def run(self, steps: Sequence[Step]) -> None:
        """All of them, in order. Raises MeetMeError or OSError at the first that fails."""
        before = self._notes.read(self._circuit)
        known = before.devices if before is not None else ()
        self._fresh = (*(before.fresh if before is not None else ()), *observe.absent(self._wished))
        self._note((*known, *self._wished), dict(before.before) if before is not None else {})
        for (_, program), group in groupby(steps, key=_batch):
            together = list(group)
            if program:
                batch([step.line for step in together if isinstance(step, Run)], program)
                continue
            for step in together:
                self._one(step)
        self._settle()

    def _one(self, step: Step) -> None:
        if isinstance(step, NotePort):
            note = self._notes.read(self._circuit)
            before = dict(note.before) if note is not None else {}
            before[step.name] = observe.port_before(step.name)
            self._note(note.devices if note is not None else self._wished, before)
        elif isinstance(step, Set):
            if step.noted:
                value = tables.setting(step.key)
                if value is None:
                    return  # bridged frames never meet the packet filter of this kernel
                self._notes.note_setting(step.key, value)
            set_all([(step.key, step.value)])

    def _settle(self) -> None:
        """Remember what is left to remember. It is all that there is to do about `Forget`."""
        if not self._wished:
            self._notes.drop(self._circuit)
            return
        self._fresh = ()  # all of them have their tags
        note = self._notes.read(self._circuit)
        before = dict(note.before) if note is not None else {}
        self._note(self._wished, {name: port for name, port in before.items() if name in self._ports})

    def _note(self, devices: Sequence[str], before: dict[str, PortBefore]) -> None:
        names, fresh = tuple(sorted(set(devices))), tuple(sorted(set(self._fresh)))
        self._notes.write(Note(self._circuit, names, tuple(sorted(before.items())), fresh))


def _devices(config: SegmentConfig) -> tuple[str, ...]:
    made = {part.name for part in config.parts if isinstance(part, Member | Tunnel | Vlan)}
    return (bridge_name(config.circuit), *sorted(made))


def _batch(step: Step) -> tuple[type, str]:
    """What may go together in one call."""
    return (type(step), step.program if isinstance(step, Run) else "")
