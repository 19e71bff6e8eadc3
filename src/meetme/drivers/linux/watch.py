"""Kernel events that may have disturbed a circuit.

One netlink socket hears of links, addresses, routes and rules, in the router and in every circuit's namespace; another
of nftables. What no event tells (a setting below /proc/sys) is for the configurator's own round every few seconds.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable

from meetme.drivers.base import Disturbance
from meetme.drivers.kernel import tables
from meetme.drivers.kernel.netlink import (
    DEL_ADDRESS,
    DEL_LINK,
    DEL_ROUTE,
    NETFILTER,
    NEW_ADDRESS,
    NEW_LINK,
    NEW_ROUTE,
    ROUTE,
    Message,
    Netlink,
    messages,
    speaker,
    subscription,
)
from meetme.drivers.linux import observe
from meetme.drivers.linux.names import PREFIX, PROTOCOL, names

_GROUPS = (
    1,
    5,
    7,
    8,
    9,
    11,
    19,
)  # RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE
_NFTABLES = (7,)  # NFNLGRP_NFTABLES
_GONE_KEPT = 1024
_SETTLE_SECONDS = 0.01
"""One change is many events: they are told as one."""


async def watch(holder: Callable[[str], str | None]) -> AsyncIterator[Disturbance]:
    """Disturbances as they come; never ends by itself. `holder` says which circuit has to do with an interface."""
    watcher = _Watcher(holder)
    loop = asyncio.get_running_loop()
    sockets = (subscription(ROUTE, _GROUPS), subscription(NETFILTER, _NFTABLES))
    for each in sockets:
        loop.add_reader(each, watcher.hear, each)
    try:
        while True:
            await watcher.heard.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            for disturbance in watcher.take():
                yield disturbance
    finally:
        for each in sockets:
            loop.remove_reader(each)
            each.close()


class _Watcher:
    """Turns messages into circuits. Knows interfaces and namespaces of the router by number, from what it hears."""

    def __init__(self, holder: Callable[[str], str | None]) -> None:
        self._holder = holder
        self.heard = asyncio.Event()
        self._disturbed: dict[str | None, str] = {}
        self._by_index: dict[int, str] = {}
        self._by_namespace: dict[int, str] = {}
        self._gone: deque[int] = deque()
        self._unknown: dict[int, str] = {}
        """What was heard of namespaces to which no veth of ours was seen to lead: being made, or not ours."""
        self._learn()

    def take(self) -> list[Disturbance]:
        """What was heard since."""
        self.heard.clear()
        found, self._disturbed = self._disturbed, {}
        if None in found:
            return [Disturbance(None, found[None])]
        return [Disturbance(circuit, what) for circuit, what in found.items()]

    def hear(self, source: socket.socket) -> None:
        """Everything that waits on one socket."""
        while True:
            try:
                data, ancillary, _, _ = source.recvmsg(1 << 16, 64)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: more happened than the kernel could tell
                self._note(None, "events lost")
                self._learn()
                return
            self._one(data, speaker(ancillary), source.proto)

    def _one(self, data: bytes, namespace: int | None, family: int) -> None:
        if namespace is not None:
            what = "ruleset" if family == NETFILTER else "namespace"
            circuit = self._by_namespace.get(namespace)
            if circuit is None:
                self._unknown[namespace] = what
            else:
                self._note(circuit, what)
        elif family == ROUTE:
            for message in messages(data):
                self._router(message)

    def _router(self, message: Message) -> None:
        """An event of the router itself: most of them are none of our business."""
        if message.kind in (NEW_ROUTE, DEL_ROUTE):
            if message.body[5] == PROTOCOL:
                self._route(message)
        elif message.kind in (NEW_ADDRESS, DEL_ADDRESS):
            self._note(self._by_index.get(tables.address_device(message)), "address")
        elif message.kind in (NEW_LINK, DEL_LINK):
            link = tables.link(message)
            circuit = observe.tagged_circuit(link)
            if circuit is not None:
                self._note(circuit, "interface")
                if message.kind == NEW_LINK:
                    self._is_of(link, circuit)
                else:
                    self._forget(link)
            elif not link.name.startswith(PREFIX):
                circuit = self._holder(link.name)
                if circuit is not None:
                    self._by_index[link.index] = circuit
                self._note(circuit, f"interface {link.name}")

    def _route(self, message: Message) -> None:
        found = tables.route(message)
        if found is None:
            return
        circuit = self._by_index.get(found.device)
        if circuit is None:
            circuit = next((c for c in self._by_index.values() if names(c).closed_metric == found.metric), None)
        self._note(circuit, f"route {found.prefix}")

    def _learn(self) -> None:
        with Netlink() as netlink:
            for link in tables.links(netlink):
                circuit = observe.tagged_circuit(link)
                if circuit is not None:
                    self._is_of(link, circuit)

    def _is_of(self, link: tables.Link, circuit: str) -> None:
        self._by_index[link.index] = circuit
        if link.peer_namespace is not None:
            self._by_namespace[link.peer_namespace] = circuit
            what = self._unknown.pop(link.peer_namespace, None)
            if what is not None:
                self._note(circuit, what)

    def _forget(self, link: tables.Link) -> None:
        """The kernel soon gives a namespace's number to another; that of an interface is needed for what lay on it."""
        if link.peer_namespace is not None:
            self._by_namespace.pop(link.peer_namespace, None)
        self._gone.append(link.index)
        if len(self._gone) > _GONE_KEPT:
            self._by_index.pop(self._gone.popleft(), None)

    def _note(self, circuit: str | None, what: str) -> None:
        self._disturbed.setdefault(circuit, what)
        self.heard.set()
