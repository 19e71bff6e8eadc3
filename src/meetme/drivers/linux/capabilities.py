"""What this kernel and this process can really do, tried out in a namespace that goes again. Blocking."""

from __future__ import annotations

import contextlib
import socket
import subprocess

from meetme.drivers.kernel import netns, tables
from meetme.model.errors import Fault, Problem
from meetme.model.intent import Capabilities
from meetme.runtime.shell import find_program, package_of

_NAT = """table inet t {
  chain a { type nat hook prerouting priority dstnat; dnat ip prefix to ip daddr map { 10.1.0.0/24 : 10.2.0.0/24 }; }
  chain b { type filter hook prerouting priority mangle; ct state related meta mark set 1; }
}
"""
_NAT6 = """table inet s {
  chain a { type nat hook prerouting priority dstnat; dnat ip6 prefix to ip6 daddr map { fd01::/64 : fd02::/64 }; }
}
"""
_VETH = "link add name a type veth peer name b\nlink set dev a up\nlink set dev b up\n"
_UNNUMBERED = "addr add fe80::1/64 dev a nodad\nroute add 10.0.0.0/24 via inet6 fe80::2 dev a\n"
_VLAN = "link add name c type veth peer name d\nlink add link c name c.7 type vlan id 7\n"


def capabilities() -> Capabilities:
    """Real probes, about 30 ms."""
    missing = [
        _lacks("capability_missing", f'no program "{program}"', f"apt-get install {package_of(program)}")
        for program in ("ip", "nft")
        if find_program(program) is None
    ]
    results: dict[str, bool] = dict.fromkeys(("veth", "unnumbered", "vlan", "nat", "nat6"), False)
    if not missing:
        try:
            results = netns.fresh(_try_all)
        except OSError as error:
            missing.append(
                _lacks(
                    "capability_missing",
                    f"not allowed to make network namespaces ({error.strerror or error})",
                    "run as root, or with CAP_SYS_ADMIN and CAP_NET_ADMIN, or in `unshare -Urnm`",
                )
            )
        else:
            missing += _explained(results)
    echo = _can_echo()
    if not echo:
        missing.append(_lacks("capability_missing", "may not send ICMP echo", "give CAP_NET_RAW"))
    for key in ("net/ipv4/ip_forward",):
        if tables.setting(key) != "1":
            missing.append(
                _lacks("forwarding_off", "the router does not forward", f"sysctl -w {key.replace('/', '.')}=1")
            )
    return Capabilities(
        driver="linux",
        unnumbered=results["unnumbered"],
        translate=results["nat"] and results["veth"],
        translate_identical_only=False,
        ipv6=results["unnumbered"] and results["nat6"],
        vlan=results["vlan"],
        confirm_timer=True,
        probe=echo,
        removes=True,
        missing=tuple(missing),
    )


def _try_all() -> dict[str, bool]:
    with contextlib.suppress(OSError), open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as off:
        off.write("0")
    return {
        "veth": _works("ip", "-batch", "-", given=_VETH),
        "unnumbered": _works("ip", "-batch", "-", given=_UNNUMBERED),
        "vlan": _works("ip", "-batch", "-", given=_VLAN),
        "nat": _works("nft", "-f", "-", given=_NAT),
        "nat6": _works("nft", "-f", "-", given=_NAT6),
    }


def _explained(results: dict[str, bool]) -> list[Problem]:
    told = {
        "veth": ("capability_missing", "this kernel has no veth", "modprobe veth"),
        "unnumbered": (
            "capability_missing",
            "no IPv4 over IPv6 next hops",
            "Linux 5.2 or later, without ipv6.disable=1",
        ),
        "vlan": ("vlan_unsupported", "this kernel has no 802.1Q", "modprobe 8021q, or use whole ports"),
        "nat": (
            "capability_missing",
            "no nftables prefix translation",
            "Linux 5.8 with nft_nat and nf_conntrack, nft 0.9.5 or later",
        ),
        "nat6": ("capability_missing", "no IPv6 prefix translation", "Linux 5.8 with nft_nat and IPv6"),
    }
    return [_lacks(*told[name]) for name, works in results.items() if not works]


def _lacks(code: str, text: str, hint: str) -> Problem:
    return Problem(code=code, text=f"router: {text}", hint=hint, fault=Fault.DEVICE)


def _works(*command: str, given: str) -> bool:
    program = find_program(command[0])
    if program is None:
        return False
    try:
        return (
            subprocess.run(
                [program, *command[1:]], input=given, capture_output=True, text=True, timeout=10, check=False
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


def _can_echo() -> bool:
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP):
            return True
    return False
