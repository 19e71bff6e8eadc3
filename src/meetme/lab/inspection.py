"""What a lab that is up looks like now: asked of the machines themselves."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from meetme.lab.host import Lab
from meetme.lab.machine import STARTUP_LOG
from meetme.model.errors import DeviceFailed


def inspect_lab(lab: Lab, machine: str | None = None) -> dict[str, Any]:
    """The lab as a document, or one machine of it. Raises NotFound (no such machine) or DeviceFailed (it is gone)."""
    names = [machine] if machine is not None else list(lab.machines)
    questions = [lab.entrance(name).command(["sh", "-c", f"ip -j address && cat {STARTUP_LOG}"]) for name in names]
    asked = [subprocess.Popen(question, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for question in questions]
    machines = []
    for name, process in zip(names, asked, strict=True):
        output, complaint = process.communicate()
        if process.returncode != 0:
            raise DeviceFailed("machine_silent", f"{name}: cannot be inspected ({complaint.decode().strip()})")
        links, _, log = output.decode(errors="replace").partition("\n")
        machines.append(_machine(name, lab.running.rows, json.loads(links), log))
    return {
        "lab": lab.running.name,
        "directory": lab.running.directory,
        "keeper": lab.running.keeper,
        "seconds": lab.running.seconds,
        "machines": machines,
    }


def _machine(name: str, rows: list[dict[str, str]], links: list[dict[str, Any]], log: str) -> dict[str, Any]:
    planned = {row["interface"]: row for row in rows if row["machine"] == name and row["interface"]}
    seen = {link["ifname"]: link for link in links}
    interfaces = [
        {
            "name": interface,
            "domain": planned[interface]["domain"] if interface in planned else "",
            "joined": planned[interface]["joined"] if interface in planned else "",
            "mac": seen[interface].get("address", "") if interface in seen else "",
            "state": seen[interface].get("operstate", "").lower() if interface in seen else "moved",
            "addresses": [
                f"{address['local']}/{address['prefixlen']}"
                for address in seen.get(interface, {}).get("addr_info", ())
                if "local" in address
            ],
        }
        for interface in dict.fromkeys((*planned, *(each for each in seen if each != "lo")))
    ]
    return {"name": name, "interfaces": interfaces, "startup_log": log}
