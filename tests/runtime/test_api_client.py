"""Following something at a service that goes away and comes back."""

from __future__ import annotations

import json
from contextlib import aclosing

import httpx2
import pytest

from meetme.model.errors import NotFound, Unreachable
from meetme.runtime import api_client
from meetme.runtime.api_client import ApiClient, Patience, unreachable


class Here(ApiClient):
    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        return unreachable("here_unreachable", "here", self._url, error)


class Service:
    """What it answers: how it stands, then events behind it, and then the connection breaks."""

    def __init__(self) -> None:
        self.standing = ("begun", 7)
        self.events = [(8, "goes on")]
        self.away = 0
        """How many requests nobody answers."""
        self.asked_behind: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self.away:
            self.away -= 1
            raise httpx2.ConnectError("refused")
        if not request.url.path.endswith("/events"):
            words, last = self.standing
            return httpx2.Response(200, json={"is": words}, headers={"last-event-id": str(last)})
        self.asked_behind.append(request.headers["last-event-id"])
        lines = "".join(f"id: {id}\nevent: state\ndata: {json.dumps({'is': it})}\n\n" for id, it in self.events)
        return httpx2.Response(200, text=lines, headers={"content-type": "text/event-stream"})


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "AGAIN_SECONDS", 0.01)


def asking(service: Service) -> Here:
    return Here("http://127.0.0.1:1", transport=httpx2.MockTransport(service))


async def test_after_a_break_it_begins_with_how_it_stands_even_with_older_events() -> None:
    service, told = Service(), list[bool]()
    async with asking(service) as client, aclosing(client._follow("/things/1", Patience(60.0, told.append))) as events:
        assert [(await anext(events)).data["is"] for _ in range(2)] == ["begun", "goes on"]
        assert told == []
        service.away, service.standing, service.events = 3, ("restored", 2), [(3, "goes on again")]
        assert [(await anext(events)).data["is"] for _ in range(2)] == ["restored", "goes on again"]
        assert (told, service.asked_behind) == ([True, False], ["7", "2"])


async def test_patience_has_an_end_and_counts_from_the_last_answer() -> None:
    service, told = Service(), list[bool]()
    service.away = 3
    async with asking(service) as client, aclosing(client._follow("/things/1", Patience(0.2, told.append))) as events:
        await anext(events)
        await anext(events)
        service.away = 10_000
        with pytest.raises(Unreachable, match="must be that of a here that runs"):
            await anext(events)
        assert told == [True, False, True]


async def test_what_the_service_refuses_is_not_asked_again() -> None:
    problem = {"type": "about:blank", "code": "thing_unknown", "detail": "thing: must be known"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(404, json=problem))
    async with Here("http://127.0.0.1:1", transport=transport) as client:
        with pytest.raises(NotFound):
            await anext(client._follow("/things/1", Patience()))
