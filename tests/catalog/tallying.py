"""What was ever made for an order, counted by who makes it: what was taken back meanwhile counts too."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any

from meetme.ixapi.client import IxApiClient
from meetme.ixapi.credentials import ApiKey
from meetme.runtime.api_client import ApiClient
from tests.catalog.serving import Provider, World
from tests.composer.serving import SECRET, Exchange

ONCE_AT_AN_EXCHANGE = ("circuit", "segment")
ONCE_AT_A_PROVIDER = (
    "order",
    "attachment registered",
    "attachment forgotten",
    "negotiation",
    "agreement in force",
    "router changed",
    "router changed",
)
"""The router is given what the agreement needs, and it is taken off."""


def once(all_of_it: World) -> Counter[str]:
    """What an order that was active and is over has made, and taken back: each of it once."""
    at: dict[str, tuple[str, ...]] = {each.name: ONCE_AT_AN_EXCHANGE for each in all_of_it.exchanges}
    at |= {each.company.name: ONCE_AT_A_PROVIDER for each in (all_of_it.a, all_of_it.b)}
    return Counter(f"{where}: {what}" for where, things in at.items() for what in things)


class Tally:
    """Counts what is new since it has counted last, whoever it was made for: nothing may be made for nobody."""

    def __init__(self, all_of_it: World) -> None:
        self._world = all_of_it
        self._counted: Counter[str] = Counter()

    async def new(self) -> Counter[str]:
        """By who has made it and what it is. AssertionError: something was in one state twice."""
        found: Counter[str] = Counter()
        for exchange in self._world.exchanges:
            found += await _at_exchange(exchange)
        for provider in (self._world.a, self._world.b):
            found += await _at_provider(provider)
        new, self._counted = found - self._counted, found
        return new


async def _at_exchange(exchange: Exchange) -> Counter[str]:
    async with exchange.client() as composer:
        begun = _begun([entry async for entry in _audit(composer)], "circuit")
    client = IxApiClient(f"http://127.0.0.1:{exchange.ixapi}/api/v2", ApiKey("key", SECRET))
    try:
        segments = len(await client.list("/network-services"))
    finally:
        await client.close()
    return Counter({f"{exchange.name}: circuit": begun, f"{exchange.name}: segment": segments})


async def _at_provider(provider: Provider) -> Counter[str]:
    async with provider.company.replicas[0].client() as negotiator:
        said = [entry async for entry in _audit(negotiator)]
    ordered = [entry async for entry in _audit(provider.client)]
    what = Counter(entry["what"] for entry in said)
    in_force = sum(entry.get("after") == "active" != entry.get("before") for entry in said)
    name = provider.company.name
    return Counter(
        {
            f"{name}: order": _begun(ordered, "order"),
            f"{name}: attachment registered": what["AttachmentPut"],
            f"{name}: attachment forgotten": what["AttachmentDeleted"],
            f"{name}: negotiation": _begun(said, "negotiation"),
            f"{name}: agreement in force": in_force,
            f"{name}: router changed": provider.box.device.applied,
        }
    )


async def _audit(client: ApiClient) -> AsyncIterator[dict[str, Any]]:
    async for page in client.audit():
        for entry in page:
            yield json.loads(entry.entry)


def _begun(entries: Iterable[dict[str, Any]], subject: str) -> int:
    """How many were begun. No state that one has left is entered again: a finished step was repeated then."""
    courses: dict[str, list[str]] = {}
    for entry in entries:
        if entry.get(subject) and entry.get("after") and entry["before"] != entry["after"]:
            courses.setdefault(entry[subject], []).append(entry["after"])
    for id, course in courses.items():
        assert len(course) == len(set(course)), f"{subject} {id}: {' -> '.join(course)}"
    return len(courses)
