"""Event streams: from where they are taken up, and how they end."""

from __future__ import annotations

import asyncio
from typing import Annotated

import httpx2
import pytest
from fastapi import Depends

from meetme.runtime.http import build_app
from meetme.runtime.listener import listening, open_listener
from meetme.runtime.sse import (
    WAIT_LIMIT,
    Bell,
    Page,
    StreamEvent,
    as_it_stands,
    event_stream,
    last_event_id,
    preferred_wait,
)


class Negotiation:
    """Something with events that are on disk before the bell rings."""

    def __init__(self) -> None:
        self.events: list[StreamEvent] = []
        self.ended = False
        self.bell = Bell()
        self.app = build_app(title="events", version="1")

        @self.app.get("/events")
        async def events(after: Annotated[int, Depends(last_event_id)]):
            return event_stream(self.load, self.bell, "it", after)

    async def load(self, after: int) -> Page:
        return Page([event for event in self.events if event.id > after], self.ended)

    def add(self, name: str, *, ended: bool = False) -> None:
        self.events.append(StreamEvent(len(self.events) + 1, name, {"line": "one\ntwo"}))
        self.ended = ended
        self.bell.ring()


@pytest.fixture
def negotiation() -> Negotiation:
    return Negotiation()


@pytest.fixture
async def url(negotiation: Negotiation):
    listener = await open_listener(negotiation.app, "127.0.0.1:0")
    async with listening(listener):
        yield f"{listener.url}/events"


async def lines_of(url: str, headers: dict | None = None) -> list[str]:
    async with httpx2.AsyncClient(timeout=10) as client, client.stream("GET", url, headers=headers or {}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [line async for line in answer.aiter_lines() if line]


async def test_a_stream_has_what_was_and_what_comes_and_then_ends(negotiation: Negotiation, url: str) -> None:
    negotiation.add("state")
    seen = []
    async with httpx2.AsyncClient(timeout=10) as client, client.stream("GET", url) as answer:
        async for line in answer.aiter_lines():
            seen.append(line)
            if line == "id: 1":
                negotiation.add("step")
            if line == "id: 2":
                negotiation.add("state", ended=True)
    assert [line for line in seen if line.startswith("id")] == ["id: 1", "id: 2", "id: 3"]
    assert seen[:4] == ["id: 1", "event: state", 'data: {"line": "one\\ntwo"}', ""]


async def test_it_says_that_it_is_there_also_when_it_is_rung_for_nothing(
    negotiation: Negotiation, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meetme.runtime.sse.PING_SECONDS", 0.2)

    async def ring() -> None:
        while True:
            negotiation.bell.ring()
            await asyncio.sleep(0.01)

    ringing = asyncio.create_task(ring())
    try:
        async with (
            asyncio.timeout(10),
            httpx2.AsyncClient(timeout=10) as client,
            client.stream("GET", url) as answer,
        ):
            lines = answer.aiter_lines()
            assert [line for line in [await anext(lines) for _ in range(4)] if line] == [": still here"] * 2
    finally:
        ringing.cancel()


async def test_a_client_that_comes_back_misses_nothing_and_hears_nothing_twice(
    negotiation: Negotiation, url: str
) -> None:
    for _ in range(3):
        negotiation.add("state")
    negotiation.add("state", ended=True)
    lines = await lines_of(url, {"Last-Event-ID": "2"})
    assert [line for line in lines if line.startswith("id")] == ["id: 3", "id: 4"]
    assert await lines_of(url, {"Last-Event-ID": "4"}) == []


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 30, "²"])
async def test_a_wrong_last_event_id_is_a_problem(url: str, value: str) -> None:
    async with httpx2.AsyncClient() as client:
        answer = await client.get(url, headers=[(b"last-event-id", value.encode())])
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:meetme:problem:last_event_id_malformed")


async def test_a_quiet_stream_shows_that_it_is_alive(
    negotiation: Negotiation, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meetme.runtime.sse.PING_SECONDS", 0.02)
    async with httpx2.AsyncClient(timeout=10) as client, client.stream("GET", url) as answer:
        assert await anext(line async for line in answer.aiter_lines()) == ": still here"


async def test_no_ring_is_lost_between_looking_and_listening() -> None:
    bell = Bell()
    heard = bell.listen("it")
    bell.ring()
    async with asyncio.timeout(1):
        await heard.wait()
    assert not bell.listen("it").is_set()


async def test_an_open_stream_does_not_hold_up_the_end(negotiation: Negotiation) -> None:
    listener = await open_listener(negotiation.app, "127.0.0.1:0")
    negotiation.add("state")
    async with httpx2.AsyncClient() as client, client.stream("GET", f"{listener.url}/events") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "id: 1"
        async with asyncio.timeout(2):
            await listener.close(grace=0.01)
        with pytest.raises(httpx2.HTTPError):
            assert [line async for line in lines]


@pytest.mark.parametrize(
    ("preferred", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("wait=5", 5.0),
        ("respond-async, Wait=7; foo=bar", 7.0),
        ("wait=3600", WAIT_LIMIT),
        ("wait=" + "9" * 50, WAIT_LIMIT),
        ("wait=-1", 0.0),
        ("wait=soon", 0.0),
        ("wait=²", 0.0),
        ("return=minimal", 0.0),
    ],
)
def test_how_long_a_client_is_ready_to_wait(preferred: str | None, seconds: float) -> None:
    assert preferred_wait(preferred) == seconds


async def test_who_waits_is_answered_when_it_is_so_or_when_the_time_is_over() -> None:
    bell, there, looks = Bell(), [1], 0

    async def look() -> tuple[int, int]:
        nonlocal looks
        looks += 1
        return there[0], there[0]

    assert await as_it_stands(look, bell, "it", 1, 0.0) == (1, 1)
    assert await as_it_stands(look, bell, "it", 0, 60.0) == (1, 1), "what is new is told at once"
    assert looks == 2
    waiting = asyncio.create_task(as_it_stands(look, bell, "it", 1, 60.0))
    await asyncio.sleep(0)
    bell.ring(["it"])
    for _ in range(5):
        await asyncio.sleep(0)
    assert looks == 4
    assert not waiting.done(), "a ring for something else"
    there[0] = 2
    bell.ring(["it"])
    assert await waiting == (2, 2)
    assert await as_it_stands(look, bell, "it", 2, 0.01) == (2, 2)
