"""Random networks with real packets: what was agreed reaches, nothing else does, and what ends disturbs nobody.

The rules negotiate over what the driver really sees; the driver really carries what they agreed on. A network is drawn
from its seed alone. To see one again, whatever it is:

    python -m tests.live.test_random_networks SEED
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import pytest

from meetme.model.agreement import Agreement, Role
from meetme.negotiator.facts import RouterView
from tests.live.networks import Built, Host, Post, Sent, Stream, build, connect, pings
from tests.live.pair import snapshot
from tests.live.world import why_not, world
from tests.networks import oracle
from tests.networks.generator import network, star
from tests.networks.members import Member, Talks, seen, start
from tests.networks.oracle import Point, point, span
from tests.networks.plan import Network

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

ORDINARY = (110, 120, 133)
SEEDS = range(100, 160)


@pytest.mark.parametrize("seed", ORDINARY)
def test_random_networks(seed: int) -> None:
    play(seed)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_more_random_networks(seed: int) -> None:
    play(seed)


def test_eight_partners_with_one_prefix_at_one_router() -> None:
    """All at once, from both sides; every flow has the same ports, and to each its alias and nobody else's packets."""
    assert live(star(8, hub_starts=True, both=True), Random(8)) == 8


def play(seed: int) -> int:
    """The whole life of the network of one seed; how many agreements it had."""
    print(f"seed {seed}: python -m tests.live.test_random_networks {seed}")
    return live(network(Random(seed), live=True), Random(seed))


def live(drawn: Network, chance: Random) -> int:
    """Build it, agree, try everything, end one, try everything, end all; how many agreements there were."""
    with world() as w:
        built = build(w, drawn)
        before = left_behind(built)
        talks = negotiated(built, chance)
        for name, member in talks.members.items():
            built.apply(name, member.device.values())
        agreed = {a.circuit: a for a in agreements(talks)}
        check_all(built, agreed.values(), chance)
        if agreed:
            check_end_of_one(built, dict(agreed), chance)
        for name in built.routers:
            built.remove(name, [a.circuit for a in agreed.values() if name in members(a)])
        assert left_behind(built) == before
    return len(agreed)


def left_behind(built: Built) -> dict[str, list[str]]:
    """All that a circuit could leave at any router; in which order the kernel lists it says nothing."""
    return {name: sorted(snapshot(router).splitlines()) for name, router in built.routers.items()}


def members(agreement: Agreement) -> tuple[str, str]:
    return agreement.initiator.member, agreement.responder.member


@dataclass
class Seen(Member):
    """A member that knows of its router what the driver sees, not what the plan says."""

    view: RouterView | None = None

    def router(self) -> RouterView:
        assert self.view is not None
        return self.view


def negotiated(built: Built, chance: Random) -> Talks:
    """The rules agree, one after the other or all at once."""
    talks = Talks(built.network, chance if chance.random() < 0.5 else None)
    for name, member in talks.members.items():
        view = RouterView(seen(member.site).capabilities, built.observation(name))
        talks.members[name] = Seen(member.site, view=view)
    for circuit in built.network.circuits:
        if talks.random is None:
            start(talks, circuit)
            talks.settle()
        else:
            talks.bag.append(lambda circuit=circuit: start(talks, circuit))  # type: ignore[misc]
    talks.settle()
    return talks


def agreements(talks: Talks) -> list[Agreement]:
    found = [talks.members[c.starter].known[id].agreement for id, c in talks.active().items()]
    return [agreement for agreement in found if agreement is not None]


def packets(built: Built, agreed: Iterable[Agreement]) -> list[Sent]:
    """From every host to every address that means anything anywhere: real ones, aliases, the routers' own."""
    everyone = [*built.hosts, *built.gateways]
    targets = {point(one.address) for one in everyone}
    for agreement in agreed:
        for role, entry in oracle.entries(agreement):
            mine = [one for one in everyone if one.site == agreement.side(role).member]
            inside = [point(one.address) for one in mine if oracle.holds(span(entry.real), point(one.address))]
            targets |= {oracle.moved(at, entry.real, entry.alias) for at in inside}
    return [Sent(host, at) for host in built.hosts for at in sorted(targets) if at[0] == host.address.version]


def expected(built: Built, agreed: Iterable[Agreement], packet: Sent) -> tuple[Host, Point] | None:
    """Which host at another site has to get it, and whom it sees."""
    found = oracle.reachable(agreed, packet.source.site, point(packet.source.address), packet.target)
    assert len(found) <= 1
    for site, at in found:
        host = next((h for h in built.hosts if h.at == (site, at)), None)
        if host is not None:
            return host, seen_from(agreed, packet, site)
    return None


def seen_from(agreed: Iterable[Agreement], packet: Sent, site: str) -> Point:
    source = point(packet.source.address)
    for agreement in agreed:
        for role in Role:
            mine, theirs = agreement.side(role), agreement.side(role.other)
            if (mine.member, theirs.member) != (packet.source.site, site):
                continue
            if not any(oracle.holds(span(entry.alias), packet.target) for entry in theirs.prefixes):
                continue
            for entry in mine.prefixes:
                if oracle.holds(span(entry.real), source):
                    return oracle.moved(source, entry.real, entry.alias)
    raise AssertionError(packet)


def check_all(built: Built, agreed: Iterable[Agreement], chance: Random) -> None:
    """Everybody to everything by UDP, all from one port to one port; some by TCP and ping."""
    agreed = tuple(agreed)
    sent = packets(built, agreed)
    due = [(packet, expected(built, agreed, packet)) for packet in sent]
    post = Post(built.hosts)
    try:
        numbers = post.send(sent)
        waiting = [n for n, (_, wanted) in zip(numbers, due, strict=True) if wanted]
        post.until(lambda: all(post.log[n].answered_by for n in waiting))
        post.quiet()
    finally:
        post.close()
    for number, (packet, wanted) in zip(numbers, due, strict=True):
        heard = post.log[number]
        elsewhere = [(who, from_) for who, from_ in heard.by if who[0] != packet.source.site]
        if wanted is None:
            assert not elsewhere, f"{packet} reached {elsewhere}"
            continue
        host, from_ = wanted
        assert heard.by == [(host.at, from_)], f"{packet} reached {heard.by}, not {host.at} as from {from_}"
        assert heard.answered_by == [packet.target], f"{packet} was answered by {heard.answered_by}"
    crossing = [(packet, wanted) for packet, wanted in due if wanted]
    for packet, (host, from_) in chance.sample(crossing, min(len(crossing), 10)):
        connect(packet, host, from_)
    check_pings(built, agreed, [packet for packet, _ in crossing], chance)


def check_pings(built: Built, agreed: tuple[Agreement, ...], crossing: list[Sent], chance: Random) -> None:
    """Hosts answer; of a router, the probe address that was agreed and no other, to hosts and to the peer's router."""
    asked = [(packet, True) for packet in chance.sample(crossing, min(len(crossing), 30))]
    for agreement in agreed:
        for role in Role:
            mine, theirs = agreement.side(role), agreement.side(role.other)
            sources = [h for h in (*built.hosts, *built.gateways) if h.site == mine.member]
            sources = [h for h in sources if any(oracle.holds(span(e.real), point(h.address)) for e in mine.prefixes)]
            speakers = [h for h in sources if h in built.hosts or h.address == mine.probe]
            for gateway in (g for g in built.gateways if g.site == theirs.member):
                for entry in theirs.prefixes:
                    at = point(gateway.address)
                    if oracle.holds(span(entry.real), at):
                        target = oracle.moved(at, entry.real, entry.alias)
                        same = [h for h in speakers if h.address.version == at[0]]
                        picked = chance.sample(same, min(len(same), 3))
                        asked += [(Sent(h, target), gateway.address == theirs.probe) for h in picked]
    answers = pings([packet for packet, answer in asked if answer])
    assert all(answers), [p for (p, _), ok in zip(((p, a) for p, a in asked if a), answers, strict=True) if not ok]
    assert not any(pings([packet for packet, answer in asked if not answer], within=0.2))


def check_end_of_one(built: Built, agreed: dict[str, Agreement], chance: Random) -> None:
    """One is taken back while datagrams flow in the others: none is lost, and in the one nothing flows any more."""
    gone = agreed.pop(chance.choice(sorted(agreed)))
    left = tuple(agreed.values())
    crossing = [packet for packet in packets(built, left) if expected(built, left, packet)]
    flows = chance.sample(crossing, min(len(crossing), 12))
    stream = Stream(built.hosts, flows) if flows else None
    for name in chance.sample(members(gone), 2):
        built.remove(name, [gone.circuit])
    lost = [packet for packet, heard in stream.stop() if len(heard.answered_by) != 1] if stream else []
    assert not lost, f"{len(lost)} datagrams lost, {lost[0]}"
    check_all(built, left, chance)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [str(random.randrange(1 << 32))]:
        print(f"{play(int(wanted))} agreements held what they promised")
