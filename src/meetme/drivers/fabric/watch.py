"""Kernel events that may have disturbed a circuit: interfaces, members of bridges, addresses they keep, queues."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

from meetme.drivers.base import Disturbance
from meetme.drivers.fabric import attributes
from meetme.drivers.fabric.observe import tagged
from meetme.drivers.kernel import tables
from meetme.drivers.kernel.netlink import DEL_LINK, NEW_LINK, ROUTE, Message, Netlink, messages, subscription
from meetme.drivers.kernel.tags import circuit_of

_GROUPS = (1, 3, 4)  # RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_TC
_NEIGHBOURS, _QUEUES = (28, 29), (36, 37)
_BRIDGE_FAMILY = 7
_SETTLE_SECONDS = 0.01
"""One change is many events: they are told as one."""


async def watch() -> AsyncIterator[Disturbance]:
    """Disturbances as they come; never ends by itself."""
    watcher = _Watcher()
    loop = asyncio.get_running_loop()
    events = subscription(ROUTE, _GROUPS)
    loop.add_reader(events, watcher.hear, events)
    watcher.learn()
    try:
        while True:
            await watcher.heard.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            for disturbance in watcher.take():
                yield disturbance
    finally:
        loop.remove_reader(events)
        events.close()


class _Watcher:
    """Turns messages into circuits. Knows by number which interfaces are of which, from what it hears."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self._disturbed: dict[str | None, str] = {}
        self._by_index: dict[int, str] = {}

    def take(self) -> list[Disturbance]:
        """What was heard since."""
        self.heard.clear()
        found, self._disturbed = self._disturbed, {}
        if None in found:
            return [Disturbance(None, found[None])]
        return [Disturbance(circuit, what) for circuit, what in found.items()]

    def learn(self) -> None:
        """Look at every interface there is."""
        with Netlink() as netlink:
            every = attributes.interfaces(netlink)
        self._by_index = {each.link.index: circuit for each in every if (circuit := tagged(each)) is not None}
        for each in every:
            if each.link.master in self._by_index:
                self._by_index[each.link.index] = self._by_index[each.link.master]

    def hear(self, source: socket.socket) -> None:
        """Everything that waits."""
        while True:
            try:
                data = source.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: more happened than the kernel could tell
                self._note(None, "events lost")
                self.learn()
                return
            for message in messages(data):
                self._one(message)

    def _one(self, message: Message) -> None:
        if message.kind in (NEW_LINK, DEL_LINK):
            self._link(message)
        elif message.kind in (*_NEIGHBOURS, *_QUEUES):
            if message.kind in _NEIGHBOURS and message.body[0] != _BRIDGE_FAMILY:
                return
            circuit = self._by_index.get(struct.unpack_from("=i", message.body, 4)[0])
            if circuit is not None:
                self._note(circuit, "queue" if message.kind in _QUEUES else "address kept")

    def _link(self, message: Message) -> None:
        link = tables.link(message)
        circuit = self._by_index.get(link.index)
        if link.name.startswith("mm"):
            circuit = circuit_of(link.alias) or circuit
        circuit = circuit or self._by_index.get(link.master)
        if circuit is None:
            if message.body[0] != _BRIDGE_FAMILY and not link.name.startswith("mm"):
                self._note(None, f"interface {link.name}")
            return
        self._note(circuit, f"interface {link.name}")
        if message.kind == NEW_LINK:
            self._by_index[link.index] = circuit
        elif message.body[0] != _BRIDGE_FAMILY:  # the kernel gives the numbers of what is gone to something else
            self._by_index.pop(link.index, None)

    def _note(self, circuit: str | None, what: str) -> None:
        self._disturbed.setdefault(circuit, what)
        self.heard.set()
