"""Words spread to all, whatever is lost, repeated or late on the way, and whoever lies."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meetme.composer.book import Mark
from meetme.composer.spreading import BURST, Documents, Marks, Message, Spreading, Summary
from meetme.model.agreement import MemberId
from tests.composer.advertisements import NOW, access, advertisement
from tests.composer.federations import Network, Parcel, ring

NAMES = [f"ixp-{letter}" for letter in "abcdefgh"]


def test_what_one_says_all_know() -> None:
    network = Network(ring(NAMES))
    for name in NAMES:
        network.say(name, 1)
    network.run(2.0)
    assert all(len(marks) == 8 for marks in network.marks().values())
    assert len(set(map(str, network.marks().values()))) == 1


def test_what_is_new_is_there_long_before_books_are_compared() -> None:
    network = Network(ring(NAMES), every=600.0)
    network.run(1.0)
    word = network.say("ixp-a", 1)
    network.run(1.0)
    assert all(node.book.word("ixp-a") == word for node in network.nodes.values())


def test_books_that_are_the_same_cost_one_question_a_round() -> None:
    network = Network(ring(NAMES[:4]))
    for name in NAMES[:4]:
        network.say(name, 1)
    network.run(100.0)
    network.heard.clear()
    network.run(30.0)
    assert len(network.heard) == 16, "eight questions, eight answers"
    assert all(heard.answer is None or heard.answer == Marks() for _, heard in network.heard)


def test_a_later_word_takes_the_place_and_a_last_one_empties_it() -> None:
    network = Network(ring(NAMES))
    network.say("ixp-a", 1, points=(access("p1", "csp-a"),))
    network.run(2.0)
    network.say("ixp-a", 2)
    network.run(2.0)
    assert {node.book.word("ixp-a").mark.version for node in network.nodes.values()} == {2}
    assert all(node.book.word("ixp-a").advertisement.withdrawn for node in network.nodes.values())


def test_who_was_away_catches_up() -> None:
    network = Network(ring(NAMES))
    network.cut = lambda a, b: "ixp-d" in (a, b)
    for name in NAMES:
        network.say(name, 1)
    network.run(120.0)
    assert network.nodes["ixp-a"].book.word("ixp-d") is None
    network.cut = lambda a, b: False
    network.run(600.0)
    assert len(set(map(str, network.marks().values()))) == 1


def test_who_was_away_for_a_moment_is_told_soon_and_not_at_the_next_round() -> None:
    network = Network(ring(NAMES[:4]), every=600.0)
    network.run(1.0)
    network.cut = lambda a, b: "ixp-d" in (a, b)
    word = network.say("ixp-a", 1)
    network.run(2.0)
    assert network.nodes["ixp-d"].book.word("ixp-a") is None
    network.cut = lambda a, b: False
    network.run(5.0)
    assert network.nodes["ixp-d"].book.word("ixp-a") == word


def test_what_expires_is_gone_everywhere_and_stays_gone() -> None:
    network = Network(ring(NAMES[:4]))
    network.say("ixp-a", 1)
    network.run(3600.0)
    network.run(120.0)
    for node in network.nodes.values():
        node.book.forget(network.now, network.members)
    assert all(not marks for marks in network.marks().values())


FAST = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def federations(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """A connected graph of composers: a tree and some more links."""
    names = NAMES[: draw(st.integers(2, 7))]
    pairs = {(draw(st.integers(0, index - 1)), index) for index in range(1, len(names))}
    pairs |= set(draw(st.lists(st.tuples(st.integers(0, len(names) - 1), st.integers(0, len(names) - 1)), max_size=5)))
    links: dict[str, set[str]] = {name: set() for name in names}
    for a, b in pairs:
        if a != b:
            links[names[a]].add(names[b])
            links[names[b]].add(names[a])
    return {name: tuple(sorted(others)) for name, others in links.items()}


@FAST
@given(federations(), st.data())
def test_all_end_with_the_newest_of_each_whatever_happened_on_the_way(
    links: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    network, random = Network(links), Random(data.draw(st.integers(0, 2**32)))
    names, newest = list(links), {}
    for version in range(1, data.draw(st.integers(1, 5)) + 1):
        half = set(data.draw(st.lists(st.sampled_from(names))))
        network.cut = lambda a, b, half=half: (a in half) != (b in half)
        for name in data.draw(st.lists(st.sampled_from(names), unique=True)):
            newest[name] = network.say(name, version).mark
        network.run(data.draw(st.sampled_from([0.0, 0.2, 40.0])), random, loss=0.3)
    network.cut = lambda a, b: False
    network.run(network.every * 40, random)
    assert network.marks() == {name: dict(sorted(newest.items())) for name in names}


@FAST
@given(federations(), st.data())
def test_a_neighbour_that_lies_changes_nothing_that_others_have_said(
    links: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    """ixp-x is a member and joined to everybody: it forges, replays, renames, and claims what it does not have."""
    names = list(links)
    network = Network({**{name: (*others, "ixp-x") for name, others in links.items()}, "ixp-x": tuple(names)})
    stamps, liar = network.stamps, MemberId("ixp-x")
    old = [network.say(name, 1) for name in names]
    network.run(1.0)
    new = [network.say(name, 2) for name in names]
    network.run(1.0)
    before = {name: node.book.advertisements() for name, node in network.nodes.items()}
    lies = [
        *(word.document for word in old),
        *(stamps.sign(advertisement(name, version=9), "ixp-x").document for name in names),
        *(stamps.sign(replace(word.advertisement, version=8, points=()), "ixp-x").document for word in new),
        stamps.sign(advertisement("ixp-y", version=9)).document,
        stamps.sign(advertisement("ixp-y", version=9), "ixp-x").document,
        stamps.sign(advertisement("ixp-x", version=3, issued=network.now + 4000), "ixp-x").document,
        "nonsense",
    ]
    lie = st.one_of(
        st.builds(Summary, st.lists(st.sampled_from(["", "0" * 16, "f" * 16]), max_size=70).map(tuple)),
        st.builds(
            Marks,
            st.lists(st.integers(-3, 70), max_size=5).map(tuple),
            st.dictionaries(
                st.sampled_from([MemberId(n) for n in (*names, "ixp-y")]),
                st.builds(Mark, st.integers(0, 99), st.just("f" * 16)),
            ),
        ),
        st.builds(
            Documents,
            st.lists(st.sampled_from(lies), max_size=6).map(tuple),
            st.lists(st.sampled_from([MemberId(n) for n in (*names, "ixp-y", "?")]), max_size=6).map(tuple),
        ),
    )
    for _ in range(data.draw(st.integers(1, 12))):
        victim, message = data.draw(st.sampled_from(names)), data.draw(lie)
        if data.draw(st.booleans()):
            network.deliver(Parcel(liar, MemberId(victim), message))
        else:
            heard = network.nodes[victim].answered(liar, message, network.now, network.members)
            assert heard.taken == ()
        network.parcels = [parcel for parcel in network.parcels if liar not in (parcel.source, parcel.target)]
    network.cut = lambda a, b: liar in (a, b)
    network.run(network.every * 20)
    for name in names:
        node = network.nodes[name]
        assert node.book.advertisements() == before[name]
        assert node.book.word("ixp-y") is None
        assert {node.book.mark(word.member) for word in new} == {word.mark for word in new}


# --- what a neighbour can cost ----------------------------------------------------------------------------------------


def pair() -> tuple[Network, Spreading]:
    network = Network({"ixp-a": ("ixp-b",), "ixp-b": ("ixp-a",)})
    network.say("ixp-a", 1)
    network.say("ixp-b", 1)
    network.run(1.0)
    return network, network.nodes["ixp-a"]


def ask(network: Network, node: Spreading, message: Message) -> bool:
    return node.receive(MemberId("ixp-b"), message, network.now, network.members).answer is not None


def test_who_asks_without_end_is_answered_at_a_bounded_rate() -> None:
    network, node = pair()
    answered = sum(ask(network, node, Summary(("f" * 16,))) for _ in range(2000))
    assert BURST * 0.8 < answered <= BURST + 4
    heard = node.receive(MemberId("ixp-b"), Summary(()), network.now, network.members)
    assert [problem.code for problem in heard.problems] == ["advertisements_too_many"]
    network.now += 1.0
    assert 50 < sum(ask(network, node, Summary(())) for _ in range(2000)) <= 100


def test_what_is_refused_costs_more_and_others_are_still_heard() -> None:
    network = Network({"ixp-a": ("ixp-b", "ixp-c"), "ixp-b": ("ixp-a",), "ixp-c": ("ixp-a",)})
    node, stamps = network.nodes["ixp-a"], network.stamps
    forged = stamps.sign(advertisement("ixp-c", version=9), "ixp-b").document
    looks = sum(ask(network, node, Documents((forged,))) for _ in range(2000))
    assert looks == stamps.looks <= BURST / 10
    network.say("ixp-c", 2)
    network.run(1.0)
    assert node.book.word("ixp-c") is not None


def test_nothing_is_kept_of_strangers() -> None:
    network, node = pair()
    for number in range(500):
        network.now += 1.0
        word = network.stamps.sign(advertisement(f"ixp-{number}", version=1, issued=network.now), None)
        assert ask(network, node, Documents((word.document,), (MemberId(f"ixp-{number}"),)))
    assert len(node.book) == 2
    assert node.book.mark("ixp-17") is None


def test_who_refuses_a_word_is_not_sent_it_again_and_again() -> None:
    network = Network({"ixp-a": ("ixp-b",), "ixp-b": ("ixp-a",), "ixp-c": ("ixp-a",)})
    whole, network.members = network.members, {k: v for k, v in network.members.items() if k != "ixp-c"}
    node = network.nodes["ixp-a"]
    word = network.stamps.sign(advertisement("ixp-c", version=1))
    assert node.book.consider(word, network.stamps, now=NOW, members=whole) is None
    del network.nodes["ixp-c"]
    network.nodes["ixp-b"].meet((), network.now)
    sent = []
    for _ in range(5):
        for target, message in node.due(network.now):
            while message is not None:
                sent.append(message)
                answer = network.nodes[target].receive(MemberId("ixp-a"), message, network.now, network.members).answer
                message = node.answered(target, answer, network.now, whole).answer
        network.now += 30.0
    assert [type(message) for message in sent].count(Documents) == 1


def test_only_so_much_is_sent_at_a_time() -> None:
    names = [f"ixp-{number:03}" for number in range(300)]
    network = Network({**dict.fromkeys(names, ()), "ixp-000": ("ixp-001",), "ixp-001": ("ixp-000",)})
    stamps, giver, taker = network.stamps, network.nodes["ixp-000"], network.nodes["ixp-001"]
    for name in names:
        word = stamps.sign(advertisement(name))
        big = replace(word, document=word.document + " " * 9000)
        stamps.known[big.document] = stamps.known[word.document]
        giver.book.take(big)
    sizes = []
    deliver = network.deliver

    def watch(parcel: Parcel, **how: bool) -> None:
        if isinstance(parcel.message, Documents):
            sizes.append((parcel.is_answer, sum(map(len, parcel.message.documents))))
        deliver(parcel, **how)

    network.deliver = watch  # type: ignore[method-assign]
    network.run(5.0)
    assert len(taker.book) == 299, "all but its own"
    assert max(size for answer, size in sizes if not answer) <= 52 * 1024
    assert max(size for answer, size in sizes if answer) <= 192 * 1024


@pytest.mark.parametrize("answer", [Marks(), Documents(), Summary(())])
def test_an_answer_that_nobody_waits_for_does_no_harm(answer: Message) -> None:
    network, node = pair()
    before = node.book.advertisements()
    assert node.answered(MemberId("ixp-z"), answer, network.now, network.members).answer is None
    assert node.answered(MemberId("ixp-b"), answer, network.now, network.members).taken == ()
    assert node.book.advertisements() == before
