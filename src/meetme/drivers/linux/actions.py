"""The thesis's three actions on Linux, with the commands of thesis 7.3.3: `ip` and `iptables`.

The NAT recipe marks every packet that does not come from the link, so a router carries one translated link and sends
its other traffic there too. It is here because the contract offers it; the driver's own namespaces do without.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Network

from meetme.drivers.actions import Nat
from meetme.model.addresses import Address, InterfaceAddress, Prefix
from meetme.model.errors import DeviceFailed, Unsupported
from meetme.runtime.shell import run

Command = tuple[str, ...]

EVERYWHERE = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class Step:
    """A command, the one that takes it back, and one whose output or status says whether it is done already."""

    add: Command
    undo: Command
    present: Command


def address_step(address: InterfaceAddress, port: str) -> Step:
    """`ip addr add`."""
    here = (str(address), "dev", port)
    return Step(
        add=("ip", "addr", "add", *here),
        undo=("ip", "addr", "del", *here),
        present=("ip", "-o", "addr", "show", "dev", port, "to", f"{address.ip}"),
    )


def route_step(prefix: Prefix, next_hop: Address, *, table: int | None = None) -> Step:
    """`ip route add`. A prefix of length 0 is written `default`."""
    where = () if table is None else ("table", str(table))
    what = ("default" if prefix.prefixlen == 0 else str(prefix), "via", str(next_hop), *where)
    return Step(
        add=("ip", "route", "add", *what),
        undo=("ip", "route", "del", *what),
        present=("ip", "route", "show", "exact", str(prefix), "via", str(next_hop), *where),
    )


def nat_steps(nat: Nat) -> tuple[Step, ...]:
    """The recipe of thesis 7.3.3, in its order."""

    def rule(table: str, chain: str, *rest: str) -> Step:
        return Step(
            add=("iptables", "-t", table, "-A", chain, *rest),
            undo=("iptables", "-t", table, "-D", chain, *rest),
            present=("iptables", "-t", table, "-C", chain, *rest),
        )

    selector = ("fwmark", str(nat.mark), "lookup", str(nat.table))
    return (
        rule("nat", "PREROUTING", "-d", str(nat.alias), "-j", "NETMAP", "--to", str(nat.real)),
        rule("nat", "POSTROUTING", "-d", str(nat.real), "-j", "NETMAP", "--to", str(nat.alias)),
        rule("mangle", "PREROUTING", "!", "-i", nat.port, "-j", "MARK", "--set-mark", str(nat.mark)),
        route_step(EVERYWHERE, nat.next_hop, table=nat.table),
        Step(
            add=("ip", "rule", "add", *selector),
            undo=("ip", "rule", "del", *selector),
            present=("ip", "rule", "show", *selector),
        ),
    )


class LinuxActions:
    """Runs the commands in the network namespace of this process. Several at once wait for each other."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def add_address(self, address: InterfaceAddress, port: str) -> None:
        """Assign an address to an interface."""
        await self._do((address_step(address, port),))

    async def add_route(self, prefix: Prefix, next_hop: Address) -> None:
        """Route a prefix to a next hop, in the main table."""
        await self._do((route_step(prefix, next_hop),))

    async def configure_nat(self, nat: Nat) -> None:
        """Translate one prefix to one alias, both ways: all of the recipe, or none."""
        if nat.real.version != 4:
            raise Unsupported("ipv6_unsupported", f"localNetwork: must be IPv4 ({nat.alias})", field="localNetwork")
        await self._do(nat_steps(nat))

    async def _do(self, steps: tuple[Step, ...]) -> None:
        async with self._turn:
            done: list[Step] = []
            try:
                for step in steps:
                    if await _is_present(step):
                        continue
                    outcome = await run(*step.add)
                    if outcome.status != 0:
                        said = outcome.stderr.strip() or outcome.stdout.strip() or f"exit status {outcome.status}"
                        raise DeviceFailed(
                            "command_failed",
                            f'device: "{" ".join(step.add)}" failed ({said})',
                            hint="run it by hand on the router to see what it lacks",
                        )
                    done.append(step)
            except BaseException:
                for step in reversed(done):
                    await asyncio.shield(run(*step.undo))
                raise


async def _is_present(step: Step) -> bool:
    outcome = await run(*step.present)
    return outcome.status == 0 and (step.present[0] == "iptables" or bool(outcome.stdout.strip()))
