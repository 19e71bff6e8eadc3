"""docs/reference/labs.md: the labs that come with the package, from their own files."""

from __future__ import annotations

from meetme.lab import graph
from meetme.lab.source import read_lab, shipped_labs
from meetme.lab.verify import read_checks

INTRODUCTION = """# The labs that come with MeetMe

Each shows one thing, and proves it with packets:

```sh
meetme lab up NAME
meetme lab verify NAME
meetme lab down NAME
```

Or by hand, between `up` and `down`: `meetme lab exec NAME MACHINE -- COMMAND`. Their files are those of the format that
[labs](lab.md) describes; the checks are [checks.toml](checks.md). To change one, copy its folder, which `meetme lab up`
prints with `--dry-run --format json`.
"""


def page() -> str:
    """One section a lab: what it shows, who meets whom, and what its checks promise."""
    parts = [INTRODUCTION]
    for name, folder in shipped_labs().items():
        plan = read_lab(folder).plan
        machines = tuple(machine.name for machine in plan.machines)
        checks = [step.name for step in read_checks(folder / "checks.toml", machines) if step.name is not None]
        parts.append(f"## {name}\n\n{plan.description}.\n\n```text\n{graph.text(plan)}\n```\n")
        parts.append("\n".join([f"{len(checks)} checks:\n", *(f"- {check}" for check in checks)]) + "\n")
    return "\n".join(parts)
