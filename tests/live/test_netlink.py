"""Orders to a real kernel by netlink: several at one go, each with its answer."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from meetme.drivers.kernel.netlink import Netlink
from tests.live.world import Machine, why_not, world

reason = why_not()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))
SET_LINK, UP = 19, 1


@pytest.fixture
def machine() -> Iterator[Machine]:
    with world() as only:
        made = only.machine("m")
        made.sh("ip link add one type bridge; ip link add two type bridge")
        yield made


def up(name: str) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), UP, UP)


def test_each_of_several_is_done_or_its_error_told(machine: Machine) -> None:
    def ask() -> tuple[list[int], list[int]]:
        nobody = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 999_999, UP, UP)
        with Netlink() as netlink:
            first = netlink.do_all(SET_LINK, [up("one"), nobody, up("two")])
            return first, netlink.do_all(SET_LINK, [up("one")])

    assert machine.call(ask) == ([0, errno.ENODEV, 0], [0])
    links = machine.sh("ip -o link show up")
    assert "one:" in links
    assert "two:" in links


def test_none_at_all_is_nothing(machine: Machine) -> None:
    def ask() -> list[int]:
        with Netlink() as netlink:
            return netlink.do_all(SET_LINK, [])

    assert machine.call(ask) == []
