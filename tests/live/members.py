"""Two running members in the lab `thesis`, for tests that kill, restart and disturb them."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from tests.live.host import Host, eventually

ROUTERS = ("router1", "router2")
LIVE = ("proposed", "held", "committed", "confirming", "terminating")

LOOK = (
    "ip -o -4 address; ip -o link | sed 's/qlen.*//'; ip -4 route show table all; ip rule; ip -6 rule; ip netns list;"
    " nft list ruleset; find /run/meetme -type f 2>/dev/null; true"
)


class Members:
    """The lab, its machines, and the services on its routers."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.name = "thesis"
        """Of the lab, or its folder."""

    def copy_lab(self) -> Path:
        """The shipped lab in a folder of its own, to be changed."""
        folder = self.host.folder / "thesis"
        shutil.copytree(Path(str(files("meetme.labs") / "thesis")), folder)
        self.name = str(folder)
        return folder

    def up(self) -> None:
        """Build it; both negotiators are ready afterwards."""
        self.host.lab("up", "thesis", "--timeout", "200", seconds=220)

    def run(self, machine: str, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A shell script in a machine."""
        command = self.host.command(*LAB, "exec", self.name, machine, "--", "sh", "-c", script)
        done = subprocess.run(
            command, text=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL, check=False
        )
        assert not check or done.returncode == 0, f"{machine}: {script}\n{done.stdout}\n{done.stderr}"
        return done

    def said(self, machine: str, script: str) -> str:
        """What it printed, stripped."""
        return self.run(machine, script).stdout.strip()

    def python(self, machine: str, script: str, *arguments: str, check: bool = True) -> str:
        """A Python script in a machine; the standard library alone."""
        command = " ".join(shlex.quote(part) for part in (sys.executable, "-I", "-c", script, *arguments))
        return self.run(machine, command, check=check).stdout.strip()

    def api(
        self, machine: str, path: str = "/negotiations", method: str = "GET", body: Any = None, key: str = ""
    ) -> Any:
        """A call of the local API of a router's negotiator; None while it cannot be reached."""
        answer = json.loads(self.python(machine, CALL, method, path, json.dumps(body), key))
        return answer["body"] if answer["status"] else None

    def negotiations(self, router: str) -> dict[str, dict[str, Any]] | None:
        """Every negotiation by id; None while the negotiator cannot be reached."""
        listed = self.api(router)
        if listed is None:
            return None
        entries = listed["negotiations"] if isinstance(listed, dict) else listed
        return {each["id"]: each for each in entries}

    def state(self, router: str, id: str) -> str | None:
        """The state of one negotiation: `unknown` where the router has never heard of it, None while it is away."""
        found = self.negotiations(router)
        return None if found is None else found.get(id, {"state": "unknown"})["state"]

    def process(self, router: str, service: str) -> int:
        """The process of a service on a router."""
        script = (
            f"for p in $(pgrep -f 'serve {service[:-1]}[{service[-1]}]'); do "
            '[ "$(readlink /proc/$p/ns/net)" = "$(readlink /proc/self/ns/net)" ] && echo $p; done; true'
        )
        numbers = self.said(router, script).split()
        assert len(numbers) == 1, f"{router} {service}: {numbers}"
        return int(numbers[0])

    def restart(self, router: str, service: str) -> None:
        """Start a service again, as its startup did."""
        command = f"meetme serve {service} --config /etc/meetme/meetme.toml"
        self.run(router, f"setsid {command} >> /var/log/{service}.log 2>&1 < /dev/null & exit 0")

    def look(self, router: str) -> list[str]:
        """Everything that a router is, but for counters and lifetimes."""
        return sorted(line.strip() for line in self.said(router, LOOK).splitlines() if line.strip())

    def await_look(self, before: dict[str, list[str]], seconds: float = 40.0) -> None:
        """Wait until the routers are as they were; say what differs when they never are."""
        try:
            self.await_(lambda: {router: self.look(router) for router in before} == before, seconds)
        except AssertionError:
            for router, lines in before.items():
                now = set(self.look(router))
                assert sorted(now - set(lines)) == [], f"{router} has more"
                assert sorted(set(lines) - now) == [], f"{router} has less"
            raise

    def pings(self, source: str, address: str) -> bool:
        """Whether an address answers."""
        return self.run(source, f"ping -c 1 -W 1 {address}", check=False).returncode == 0

    def await_(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until it holds."""
        eventually(condition, seconds)

    def agreed(self) -> tuple[str, str]:
        """Make an agreement; its id and the address at which vm1 reaches vm2."""
        view = json.loads(self.said("router1", "meetme negotiate csp-b --format json"))
        assert view["state"] == "active"
        alias = view["agreement"]["responder"]["prefixes"][0]["alias"]
        return view["id"], alias.replace(".0/24", ".2")


LAB = [sys.executable, "-P", "-m", "meetme.cli.lab"]

CALL = """
import json, sys, urllib.error, urllib.request
method, path, body, key = sys.argv[1:]
token = open("/etc/meetme/token").read().strip()
request = urllib.request.Request("http://127.0.0.1:8471/api/v1" + path, method=method)
request.add_header("Authorization", "Bearer " + token)
if body != "null":
    request.data = body.encode()
    request.add_header("Content-Type", "application/json")
if key:
    request.add_header("Idempotency-Key", key)
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(json.dumps({"status": answer.status, "body": json.load(answer)}))
except urllib.error.HTTPError as wrong:
    print(json.dumps({"status": wrong.code, "body": json.load(wrong)}))
except OSError:
    print(json.dumps({"status": 0, "body": None}))
"""
