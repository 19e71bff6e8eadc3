"""Exchanges that tell each other over real TLS what they know."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from meetme.composer import spread_wire
from meetme.composer.advertisement_wire import sign_advertisement
from meetme.composer.spreader import HANDLE_PATH
from meetme.composer.spreading import Documents, Summary
from meetme.composer.topology_views import read_view, view, view_json
from meetme.ixapi.orders import ExchangeConnection
from meetme.model.agreement import MemberId
from meetme.model.errors import Forbidden, InvalidInput, MeetMeError, Refused, Unauthenticated
from meetme.model.members import MemberKind, Roster
from meetme.runtime.clock import SystemClock
from meetme.runtime.identity import create_identity
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.tls import Trust
from tests.composer.advertisements import advertisement
from tests.composer.federations import ring
from tests.composer.spreaders import Composer, changed, federation, know_each_other, until

LINE = {"ixp-a": ("ixp-b",), "ixp-b": ("ixp-a", "ixp-c"), "ixp-c": ("ixp-b",)}


@asynccontextmanager
async def running(made: dict[str, Composer], *names: str) -> AsyncIterator[None]:
    try:
        for name in names or made:
            await made[name].start()
        yield
    finally:
        for composer in made.values():
            await composer.stop()


def all_know(made: dict[str, Composer], *names: str) -> Callable[[], bool]:
    def they_do() -> bool:
        return all(set(composer.knows()) == set(names or made) for composer in made.values() if composer.spreader)

    return they_do


async def test_each_learns_of_all_and_draws_the_same_map(tmp_path: Path) -> None:
    made = federation(tmp_path, ring(["ixp-a", "ixp-b", "ixp-c", "ixp-d"]))
    async with running(made):
        await until(all_know(made))
        await until(lambda: all(len(c.spreader.atlas().links[0]) == 4 for c in made.values()))
        names = {tuple(sorted(nni.name for nni in c.spreader.atlas().links[0])) for c in made.values()}
        assert len(names) == 1


async def test_what_changes_here_is_soon_known_there(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE, every=30.0)
    async with running(made):
        await until(all_know(made))
        made["ixp-a"].points = changed(made["ixp-a"].points, "p1", bandwidth=5000)
        made["ixp-a"].spreader.nudge()
        await until(lambda: made["ixp-c"].spreader.atlas().by_member["ixp-a"].point("p1").bandwidth == 5000, 5.0)


async def test_nothing_new_is_said_where_nothing_is_new(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE)
    async with running(made):
        await until(all_know(made))
        before = made["ixp-a"].knows()
        for composer in made.values():
            composer.spreader._issue_at = 0.0
            composer.spreader.nudge()
        await until(lambda: made["ixp-a"].spreader._issue_at > SystemClock().now() + 10)
        assert made["ixp-a"].knows() == before


async def test_a_word_is_said_again_before_it_is_forgotten(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE, lifetime=2.0)
    async with running(made):
        await until(all_know(made))
        first = made["ixp-c"].knows()["ixp-a"]
        await until(lambda: made["ixp-c"].knows().get("ixp-a", 0) > first + 3000)
        await made["ixp-a"].stop()
        made["ixp-a"].spreader = None
        await until(lambda: "ixp-a" not in made["ixp-c"].knows())
        assert {"ixp-b", "ixp-c"} <= set(made["ixp-b"].knows())


async def test_after_a_restart_all_is_there_at_once_and_the_own_version_goes_on(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE)
    async with running(made):
        await until(all_know(made))
        own = made["ixp-b"].knows()["ixp-b"]
        for composer in made.values():
            await composer.stop()
        spreader = await made["ixp-b"].start()
        assert {ad.member for ad in spreader.atlas().advertisements} == set(LINE)
        assert made["ixp-b"].knows()["ixp-b"] == own, "what stands is not said again"


async def test_who_has_lost_its_store_goes_on_above_what_others_remember(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE)
    async with running(made):
        await until(all_know(made))
        before = made["ixp-b"].knows()["ixp-a"]
        await made["ixp-a"].stop()
        made["ixp-a"].path = tmp_path / "new"
        made["ixp-a"].path.mkdir()
        made["ixp-a"].points = changed(made["ixp-a"].points, "p1", bandwidth=20)
        await made["ixp-a"].start()
        await until(lambda: made["ixp-c"].spreader.atlas().by_member["ixp-a"].point("p1").bandwidth == 20)
        assert made["ixp-c"].knows()["ixp-a"] > before


async def test_a_neighbour_that_is_away_is_named_and_found_again(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE, every=0.2)
    async with running(made, "ixp-a"):
        await until(lambda: made["ixp-a"].spreader.spreading.neighbours["ixp-b"].problem)
        spreader = made["ixp-a"].spreader
        shown = view(spreader.me, spreader.atlas(), spreader.spreading.neighbours, SystemClock().now())
        assert "ixp-b" in shown.neighbours[0].problem
        assert [end.neighbour for end in shown.unconfirmed] == ["ixp-b"]
        assert read_view(json.loads(json.dumps(view_json(shown)))) == shown
        await made["ixp-b"].start()
        await until(lambda: set(made["ixp-a"].knows()) == {"ixp-a", "ixp-b"})
        await until(lambda: not made["ixp-a"].spreader.spreading.neighbours["ixp-b"].problem)


async def test_the_exchange_itself_has_the_last_word_on_its_ports(tmp_path: Path) -> None:
    seen = [ExchangeConnection("p1", speed=1000, allocated=600, facility="hall-1")]

    async def look() -> list[ExchangeConnection]:
        return seen

    made = federation(tmp_path, LINE, look=look, every=0.2)
    async with running(made, "ixp-a"):
        ad = made["ixp-a"].spreader.atlas().by_member["ixp-a"]
        assert (ad.point("p1").bandwidth, ad.point("p1").facility) == (434, "hall-1")
        assert ad.point("to-ixp-b").bandwidth == 0, "the exchange knows no such connection"
        seen[0] = ExchangeConnection("p1", usable=False)
        made["ixp-a"].spreader.nudge()
        await until(lambda: made["ixp-a"].spreader.atlas().by_member["ixp-a"].point("p1").bandwidth == 0, 5.0)


async def test_what_an_exchange_may_not_say_keeps_it_from_starting(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE, country="germany")
    with pytest.raises(InvalidInput, match="country"):
        async with running(made, "ixp-a"):
            pass


# --- from outside -----------------------------------------------------------------------------------------------------


async def ask(made: dict[str, Composer], who: Composer, to: str, text: str) -> Any:
    client = PeerClient(Trust(who.identity, lambda: Roster((made[to].member(),))))
    try:
        return (await client.post_text(to, "composer", HANDLE_PATH, text)).document
    finally:
        await client.close()


def summary(sender: str, to: str) -> str:
    return spread_wire.write(Summary(("0" * 16,) * 64), MemberId(sender), MemberId(to), SystemClock().now())


async def test_a_stranger_is_not_even_heard(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE)
    know_each_other(made, "ixp-c")
    async with running(made, "ixp-a"):
        with pytest.raises(MeetMeError) as caught:
            await ask(made, made["ixp-c"], "ixp-a", summary("ixp-c", "ixp-a"))
        assert isinstance(caught.value, Unauthenticated) or caught.value.code.startswith("peer_")


async def test_who_speaks_for_another_or_to_another_is_told_so(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE)
    async with running(made, "ixp-a"):
        for sender, to, code in (("ixp-c", "ixp-a", "sender_mismatch"), ("ixp-b", "ixp-c", "receiver_mismatch")):
            with pytest.raises(Forbidden) as caught:
                await ask(made, made["ixp-b"], "ixp-a", summary(sender, to))
            assert caught.value.code == code


async def test_a_provider_has_nothing_to_say_about_exchanges(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE)
    async with running(made, "ixp-a"):
        made["ixp-a"].roster = Roster((made["ixp-b"].member(MemberKind.CSP),))
        with pytest.raises(Forbidden) as caught:
            await ask(made, made["ixp-b"], "ixp-a", summary("ixp-b", "ixp-a"))
        assert caught.value.code == "not_an_exchange"


async def test_forged_and_foreign_words_are_refused_one_by_one_and_change_nothing(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE)
    async with running(made):
        await until(all_know(made))
        before = made["ixp-a"].knows()
        now = SystemClock().now()
        thief = create_identity("ixp-c")
        bad = (
            sign_advertisement(advertisement("ixp-c", version=int(now * 1000) + 500, issued=now), thief),
            sign_advertisement(advertisement("ixp-z", issued=now), create_identity("ixp-z")),
            sign_advertisement(advertisement("ixp-b", issued=now - 10_000), made["ixp-b"].identity),
            sign_advertisement(advertisement("ixp-b", issued=now + 10_000), made["ixp-b"].identity),
            sign_advertisement(advertisement("ixp-b", issued=now, version=1), made["ixp-b"].identity),
            "{}",
        )
        message = spread_wire.write(Documents(bad), MemberId("ixp-b"), MemberId("ixp-a"), now)
        answer = spread_wire.read(await ask(made, made["ixp-b"], "ixp-a", message), "ixp-b", "ixp-a", now)
        assert [one.code for one in answer.body.refused] == [
            "advertisement_forged",
            "advertisement_stranger",
            "advertisement_expired",
            "advertisement_future",
            "advertisement_superseded",
            "advertisement_malformed",
        ]
        assert made["ixp-a"].knows() == before


async def test_who_asks_too_much_gets_a_clear_no_and_no_more(tmp_path: Path) -> None:
    made = federation(tmp_path, LINE)
    async with running(made, "ixp-a"):
        spreader, sender = made["ixp-a"].spreader, made["ixp-b"].member()

        async def ask_on() -> None:
            for _ in range(2000):
                await spreader.receive(summary("ixp-b", "ixp-a"), sender)

        with pytest.raises(Refused) as caught:
            await ask_on()
        assert caught.value.code == "advertisements_too_many"


WRITTEN = 1_800_000_000.0
GOOD = json.loads(spread_wire.write(Summary(("0" * 16,) * 64), MemberId("ixp-b"), MemberId("ixp-a"), WRITTEN))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 2}, "version_unknown"),
        ({"version": True}, "version_unknown"),
        ({"type": "rumour"}, "message_type_unknown"),
        ({"message": "x"}, "message_malformed"),
        ({"expires": "2020-01-01T00:00:00Z"}, "message_expired"),
        ({"expires": "2099-01-01T00:00:00"}, "message_malformed"),
        ({"body": []}, "message_malformed"),
        ({"body": {"sums": ["0" * 16]}}, "message_malformed"),
        ({"body": {"sums": ["x" * 16] * 64}}, "message_malformed"),
        ({"type": "marks", "body": {"buckets": [64], "marks": {}}}, "message_malformed"),
        ({"type": "marks", "body": {"buckets": [], "marks": {"ixp-b": [0, "0" * 16]}}}, "message_malformed"),
        ({"type": "documents", "body": {"documents": ["text"]}}, "message_malformed"),
        ({"type": "documents", "body": {"wanted": ["x"] * 300}}, "message_malformed"),
        ({"from": None}, "message_malformed"),
    ],
)
def test_a_message_that_makes_no_sense_is_one_clear_error(change: dict[str, Any], code: str) -> None:
    with pytest.raises(MeetMeError) as caught:
        spread_wire.read(json.dumps({**GOOD, **change}), MemberId("ixp-a"), MemberId("ixp-b"), WRITTEN)
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["", "[", "[]", "null", "[" * 9000, '{"version": NaN}'])
def test_what_is_no_message_is_one_clear_error(text: str) -> None:
    with pytest.raises(InvalidInput):
        spread_wire.read(text, MemberId("ixp-a"), MemberId("ixp-b"), 0.0)
