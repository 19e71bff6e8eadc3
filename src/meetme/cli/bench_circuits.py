"""What of circuits over a thousand composers is measured, with all well and with a part that fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from statistics import median
from typing import Any
from uuid import UUID

from meetme.cli.bench_chains import BANDWIDTHS, BEGIN, LONGEST, Circuits, Party
from meetme.cli.federation_model import Model
from meetme.composer import capacity
from meetme.composer.advertisement import AdvertisedPoint, PointKind, told
from meetme.composer.circuit import ENDED, MemberId, State
from meetme.composer.topology import Atlas

ORDERS_SECONDS = 10.0
"""Virtual seconds within which all are ordered."""

# --- what is measured -------------------------------------------------------------------------------------------------


def measure(model: Model, atlas: Atlas, seed: int, count: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Circuits on a map that is true, on one that is old, and on one that is true again."""
    random = Random(seed)
    circuits = Circuits(model, atlas, seed)
    figures = {"all is well": _batch(circuits, random, count, tell, "all is well")}
    failing = random.sample(range(len(model.sites)), max(1, len(model.sites) // 20))
    circuits.down = {model.sites[index].name for index in failing}
    name = "a twentieth of the exchanges is down, nobody knows"
    figures[name] = _batch(circuits, random, count // 4, tell, name)
    circuits.atlas = _told(circuits, model)
    name = "a twentieth of the exchanges is down, all know"
    figures[name] = _batch(circuits, random, count // 4, tell, name)
    circuits.revive()
    circuits.atlas = _told(circuits, model)
    lines = set(random.sample(model.lines, max(1, len(model.lines) // 10)))
    for line in lines:
        circuits.cut(line)
    name = "a tenth of the lines is cut, nobody knows"
    figures[name] = _batch(circuits, random, count // 4, tell, name)
    circuits.atlas = _told(circuits, Model(model.sites, tuple(line for line in model.lines if line not in lines)))
    name = "a tenth of the lines is cut, all know"
    figures[name] = _batch(circuits, random, count // 4, tell, name)
    return figures


def _told(circuits: Circuits, model: Model) -> Atlas:
    """The map as it is once everybody alive has told what is free, and the words of the others have expired."""
    words = []
    for index, (site, near) in enumerate(zip(model.sites, model.lines_of(), strict=True)):
        if site.name in circuits.down:
            continue
        party = circuits.parties[site.name]
        ad = model.advertisement(index, near, now=BEGIN, version=2)
        words.append(replace(ad, points=tuple(replace(p, bandwidth=_free(party, p)) for p in ad.points)))
    return Atlas(words, BEGIN + 1)


def _free(party: Party, point: AdvertisedPoint) -> int:
    resource = (capacity.access if point.kind is PointKind.ACCESS else capacity.link)(point.port)
    limit = party.limits.get(resource)
    used = sum(claim.bandwidth for claims in party.on.get(resource, {}).values() for claim in claims)
    return 0 if limit is None else told(limit.bandwidth - used, limit.bandwidth)


def _batch(circuits: Circuits, random: Random, count: int, tell: Callable[[str], None], name: str) -> dict[str, Any]:
    tell(f"{count} circuits: {name} ...")
    alive = [index for index, site in enumerate(circuits.model.sites) if site.name not in circuits.down]
    circuits.messages, began_at = 0, circuits.now
    began = time.process_time()
    orders: dict[UUID, tuple[MemberId, float]] = {}
    for _ in range(count):
        a, b = random.sample(alive, 2)
        after = random.uniform(0.0, ORDERS_SECONDS)
        id, head = circuits.order(a, b, random.choice(BANDWIDTHS), after)
        orders[id] = head, circuits.now + after
    up: dict[UUID, float] = {}
    failed: set[UUID] = set()

    def done() -> bool:
        for id, (head, ordered) in orders.items():
            if id in up or id in failed:
                continue
            circuit = circuits.parties[head].circuits.get(id)
            if circuit is not None and circuit.state is State.ACTIVE:
                up[id] = circuits.now - ordered
            elif circuit is not None and (circuit.ending or circuit.state in ENDED):
                failed.add(id)
        return len(up) + len(failed) == count

    circuits.run(done, ORDERS_SECONDS + LONGEST)
    done()
    seconds = time.process_time() - began
    crank_backs = [circuits.tries[id] - (id in up) for id in orders]
    hops = [len(circuits.parties[head].circuits[id].legs[-1].hops) for id, (head, _) in orders.items() if id in up]
    times = sorted(up.values())
    return {
        "ordered": count,
        "active": len(up),
        "refused": len(failed),
        "without_end": count - len(up) - len(failed),
        "crank_backs": sum(crank_backs),
        "most_crank_backs_of_one": max(crank_backs, default=0),
        "exchanges_a_circuit": round(sum(hops) / len(hops), 2) if hops else None,
        "seconds_to_active": {
            "median": round(median(times), 3) if times else None,
            "p99": round(times[round(0.99 * (len(times) - 1))], 3) if times else None,
        },
        "messages_a_circuit": round(circuits.messages / count, 1),
        "circuits_a_processor_second": round(count / seconds, 1),
        "oversold": oversold(circuits),
        "virtual_seconds": round(circuits.now - began_at, 1),
    }


def oversold(circuits: Circuits) -> int:
    """Resources of which more was given out than there is, or a label twice. None, or something is wrong."""
    wrong = 0
    for party in circuits.parties.values():
        for resource, held in party.on.items():
            claims = [claim for each in held.values() for claim in each]
            labels = [claim.label for claim in claims if claim.label is not None]
            limit = party.limit(resource)
            wrong += len(labels) != len(set(labels))
            wrong += limit is not None and sum(claim.bandwidth for claim in claims) > limit.bandwidth
    return wrong
