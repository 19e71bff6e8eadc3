"""Following something at a service that goes away and comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import aclosing

import httpx2
import pytest

from meetme.model.errors import MeetMeError, NotFound, Unreachable
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


def asking(service: Callable[[httpx2.Request], httpx2.Response]) -> Here:
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


class Counter:
    """Begins one thing for each key. What it answers to the first requests is lost, or somebody is still at it."""

    def __init__(self, *troubles: Exception | httpx2.Response) -> None:
        self.troubles = list(troubles)
        self.keys: list[str | None] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.keys.append(request.headers.get("idempotency-key"))
        trouble = self.troubles.pop(0) if self.troubles else None
        if isinstance(trouble, Exception):
            raise trouble
        return trouble or httpx2.Response(202, json={"is": "begun"})


LOST = httpx2.RemoteProtocolError("the server disconnected without an answer")
NOBODY = httpx2.ConnectError("refused")
AT_IT = httpx2.Response(
    409, json={"type": "urn:meetme:problem:idempotency_key_in_flight", "title": "x", "detail": "key: x"}
)


@pytest.mark.parametrize("troubles", [(LOST,), (LOST, NOBODY, NOBODY, LOST), (LOST, AT_IT, AT_IT)])
async def test_what_was_begun_is_asked_for_again_with_its_key(troubles: tuple[Exception, ...]) -> None:
    counter, told = Counter(*troubles), list[bool]()
    async with asking(counter) as client:
        assert await client._begin("POST", "/things", {}, "k", Patience(60.0, told.append)) == {"is": "begun"}
    assert (counter.keys, told) == (["k"] * (len(troubles) + 1), [True, False])


@pytest.mark.parametrize(
    ("key", "patience", "trouble"),
    [("k", Patience(), NOBODY), (None, Patience(), LOST), ("k", None, LOST), ("k", Patience(), AT_IT)],
    ids=["nobody has taken it", "it has no key", "nobody is patient", "another one has the key"],
)
async def test_and_it_is_not_where_that_would_be_wrong(
    key: str | None, patience: Patience | None, trouble: Exception
) -> None:
    counter = Counter(trouble)
    async with asking(counter) as client:
        with pytest.raises(MeetMeError):
            await client._begin("POST", "/things", {}, key, patience)
    assert counter.keys == [key]


async def test_nobody_asks_for_ever_and_a_refusal_is_an_answer() -> None:
    told = list[bool]()
    async with asking(Counter(*[LOST] * 1000)) as client:
        with pytest.raises(Unreachable):
            await client._begin("POST", "/things", {}, "k", Patience(0.1, told.append))
    assert told == [True]
    refused = httpx2.Response(403, json={"type": "urn:meetme:problem:x_refused", "title": "x"})
    async with asking(Counter(LOST, refused)) as client:
        with pytest.raises(MeetMeError):
            await client._begin("POST", "/things", {}, "k", Patience(60.0, told.append))
    assert told == [True, True, False]


async def test_what_the_service_refuses_is_not_asked_again() -> None:
    problem = {"type": "urn:meetme:problem:thing_unknown", "detail": "thing: must be known"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(404, json=problem))
    async with Here("http://127.0.0.1:1", transport=transport) as client:
        with pytest.raises(NotFound):
            await anext(client._follow("/things/1", Patience()))
