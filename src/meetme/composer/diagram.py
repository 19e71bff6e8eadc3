"""The table of signalling as pictures (Mermaid), for the documentation. `scripts/diagram.py` puts them there."""

from __future__ import annotations

import re

from meetme.composer.signalling import OF_LEG, STATES, TRANSITIONS
from meetme.composer.words import ENDED, State


def leg_diagram() -> str:
    """A Mermaid state diagram of every transition that changes the state of a leg."""
    edges: dict[tuple[str, str], list[str]] = {}
    for (state, event), targets in TRANSITIONS.items():
        for target in targets:
            if target is not state and event in OF_LEG:
                edges.setdefault((state or "[*]", target), []).append(_words(event.__name__))
    lines = ["stateDiagram-v2"]
    lines += [f"    {before} --> {after}: {'<br/>'.join(events)}" for (before, after), events in edges.items()]
    return "\n".join([*lines, f"    {State.RELEASED} --> [*]"]) + "\n"


def circuit_diagram() -> str:
    """A Mermaid state diagram of how the state of a circuit changes at its head."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.HELD}"]
    for before, targets in STATES.items():
        if before is not None and before not in ENDED:
            lines += [f"    {before} --> {after}" for after in targets if (before, after) not in _ELSEWHERE]
    return "\n".join([*lines, *(f"    {state} --> [*]" for state in sorted(ENDED))]) + "\n"


def table() -> str:
    """A Markdown table of every transition, those too that stay where they are."""
    lines = ["| of | in state | event | leads to |", "|---|---|---|---|"]
    for (state, event), targets in TRANSITIONS.items():
        whose = "leg" if event in OF_LEG else "circuit"
        lines.append(f"| {whose} | {state or 'none yet'} | {_words(event.__name__)} | {', '.join(targets)} |")
    return "\n".join(lines) + "\n"


_ELSEWHERE = frozenset((State.RELEASING, after) for after in State if after not in ENDED)
"""Only a composer on the way comes back from there: the head tries another route that leads through it."""


def _words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
