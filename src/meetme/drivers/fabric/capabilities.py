"""What this kernel and this process can really do as a switch, tried out in a namespace that goes again. Blocking."""

from __future__ import annotations

import contextlib
import socket
import subprocess

from meetme.drivers.fabric.config import PROBE_MAC, Shape
from meetme.drivers.fabric.difference import APART, shape_line
from meetme.drivers.kernel import netns, tables
from meetme.model.errors import Fault, Problem
from meetme.model.intent import Capabilities
from meetme.runtime.shell import find_program

_BRIDGE = (
    "link add name a type veth peer name b\n"
    "link add name r mtu 1400 type bridge stp_state 0 mcast_snooping 0 group_fwd_mask 0xfff8\n"
    "link set dev a master r\n"
    "link set dev a type bridge_slave learning off flood on isolated on group_fwd_mask 0xfffd\n"
)
_TUNNEL = "link add name t type vxlan id 7 local 192.0.2.1 remote 192.0.2.2 dstport 4789 nolearning df set ttl 64\n"
_VLAN = "link add link b name b.7 type vlan id 7\n"
_TOLD = {
    "bridge": (
        "capability_missing",
        "this kernel has no bridge as circuits need it",
        "Linux 4.20; modprobe bridge veth",
    ),
    "kept": ("capability_missing", "bridges here cannot keep an address to themselves", "apt-get install iproute2"),
    "tunnel": ("tunnel_unsupported", "this kernel has no VXLAN", "Linux 4.20 or later; modprobe vxlan"),
    "vlan": ("vlan_unsupported", "this kernel has no 802.1Q", "modprobe 8021q, or use whole ports"),
    "shape": (
        "shaping_unsupported",
        "this kernel has no token bucket: the ordered bandwidth and the exact MTU cannot be kept",
        "modprobe sch_tbf",
    ),
    "raw": ("capability_missing", "may not send probe frames: uplinks are not watched", "give CAP_NET_RAW"),
}


def capabilities() -> Capabilities:
    """Real probes, about 30 ms."""
    programs = {"ip": "iproute2", "bridge": "iproute2", "tc": "iproute2"}
    missing = [
        _lacks("capability_missing", f'no program "{program}"', f"apt-get install {package}")
        for program, package in programs.items()
        if find_program(program) is None
    ]
    results = dict.fromkeys(_TOLD, False)
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
            missing += [_lacks(*_TOLD[name]) for name, works in results.items() if not works]
    return Capabilities(
        driver="fabric",
        unnumbered=False,
        translate=False,
        translate_identical_only=False,
        ipv6=results["tunnel"],
        vlan=results["vlan"],
        confirm_timer=True,
        probe=False,
        removes=True,
        missing=tuple(missing),
        segments=results["bridge"] and results["kept"] and results["tunnel"],
    )


def shapes() -> bool:
    """Whether the kernel has our token bucket."""
    try:
        return netns.fresh(lambda: _works("ip", _BRIDGE) and _works("tc", shape_line(Shape("a", 10**8, 1400)) + "\n"))
    except OSError:
        return False


def filtered() -> bool:
    """Whether bridged frames go through the packet filter of this switch, as they should not."""
    return any(tables.setting(key) not in ("0", None) for key in APART)


def _try_all() -> dict[str, bool]:
    return {
        "bridge": _works("ip", _BRIDGE),
        "kept": _works("bridge", f"fdb replace {PROBE_MAC} dev r self local\n"),
        "tunnel": _works("ip", _TUNNEL),
        "vlan": _works("ip", _VLAN),
        "shape": _works("tc", shape_line(Shape("a", 10**8, 1400)) + "\n"),
        "raw": _can_send(),
    }


def _lacks(code: str, text: str, hint: str) -> Problem:
    return Problem(code=code, text=f"switch: {text}", hint=hint, fault=Fault.DEVICE)


def _works(program: str, given: str) -> bool:
    path = find_program(program)
    if path is None:
        return False
    try:
        done = subprocess.run(
            [path, "-batch", "-"], input=given, capture_output=True, text=True, timeout=10, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _can_send() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0):
        return True
    return False
