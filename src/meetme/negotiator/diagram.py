"""The protocol's table as a picture (Mermaid), for the documentation. `scripts/diagram.py` puts it there."""

from __future__ import annotations

import re

from meetme.negotiator.protocol import TRANSITIONS
from meetme.negotiator.states import ENDED


def diagram() -> str:
    """A Mermaid state diagram of every transition that changes the state."""
    edges: dict[tuple[str, str], list[str]] = {}
    for (state, event), targets in TRANSITIONS.items():
        for target in targets:
            if target is not state:
                edges.setdefault((state or "[*]", target), []).append(_words(event.__name__))
    lines = ["stateDiagram-v2"]
    lines += [f"    {before} --> {after}: {'<br/>'.join(events)}" for (before, after), events in edges.items()]
    lines += [f"    {state} --> [*]" for state in sorted(ENDED)]
    return "\n".join(lines) + "\n"


def table() -> str:
    """A Markdown table of every transition, those too that stay where they are."""
    lines = ["| in state | event | leads to |", "|---|---|---|"]
    for (state, event), targets in TRANSITIONS.items():
        lines.append(f"| {state or 'none yet'} | {_words(event.__name__)} | {', '.join(targets)} |")
    return "\n".join(lines) + "\n"


def _words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
