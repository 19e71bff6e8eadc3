"""`meetme bench federation`: a thousand composers in one process, by the rules and messages of the service.

No sockets and no database; time is virtual: a message takes as long as its line does, and a moment to be handled. What
the rules and the writing of messages cost is real. Documents are signed and verified for real, each once in this
process: what verifying costs every composer is measured apart.
"""

from __future__ import annotations

import gc
import heapq
import os
import platform
import resource
import time
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from meetme.cli import bench_circuits
from meetme.cli.bench_wires import BEGIN, EVERY, SAMPLE, Count, Wires
from meetme.cli.federation_model import Model, generate
from meetme.composer.advertisement_wire import Signatures
from meetme.composer.book import Book
from meetme.composer.spreading import Spreading
from meetme.composer.topology import Atlas

# --- what is measured -------------------------------------------------------------------------------------------------


def spreading(model: Model, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """How words spread: from nothing, when nothing is new, when one is, after members and lines have failed."""
    random = Random(seed)
    gc.collect()
    before = resident()
    wires = Wires.of(model)
    count = len(wires.nodes)
    everyone = range(count)
    sizes = sorted(len(word.document) for word in wires.words)
    figures: dict[str, Any] = {
        "document_octets": {"median": sizes[count // 2], "largest": sizes[-1]},
        "moments": {},
        "longest_way_seconds": round(longest_way(wires, random.sample(everyone, min(count, 40))), 3),
    }

    def measured(name: str, act: Callable[[], None], until: Callable[[], bool] | None, seconds: float) -> None:
        tell(f"{name} ...")
        wires.count = Count()
        began = time.process_time()
        act()
        passed = wires.run(until or (lambda: False), seconds)
        done = until is None or until()
        figures["moments"][name] = {
            "seconds": round(passed, 3),
            "all_know": done,
            "among": wires.among,
            "messages": wires.count.messages,
            "octets": wires.count.octets,
            "copies_of_documents": wires.count.documents,
            "messages_a_composer": round(wires.count.messages / count, 1),
            "octets_a_composer": round(wires.count.octets / count),
            "processor_seconds": round(time.process_time() - began, 2),
        }

    def all_begin() -> None:
        wires.wait_for(wires.words, everyone)
        for index, word in enumerate(wires.words):
            wires.publish(index, word)
        wires.missing -= count  # everybody knows the own word

    def known() -> bool:
        return wires.missing <= 0

    measured("from nothing", all_begin, known, 600.0)
    first = figures["moments"]["from nothing"]
    figures["ratios"] = {
        # If everybody got each word once, and as quickly as the lines are.
        "copies_to_those_needed": round(first["copies_of_documents"] / (count * (count - 1)), 2),
        "seconds_to_the_longest_way": round(first["seconds"] / figures["longest_way_seconds"], 1),
    }
    gc.collect()
    documents = sum(sizes)
    figures["memory"] = {
        "resident_octets_of_the_process": resident(),
        "octets_a_composer": round((resident() - before - documents) / count) + documents,
        "of_them_documents": documents,
    }
    wires.run(lambda: False, 4 * EVERY)
    measured("a round without news", lambda: None, None, EVERY)

    def one_speaks() -> None:
        index = random.randrange(count)
        word = wires.say_anew(index, model.lines_of()[index])
        wires.publish(index, word)
        wires.wait_for((word,), everyone)

    measured("one has news", one_speaks, known, 600.0)

    def some_fail() -> None:
        wires.down = set(random.sample(everyone, count // 10))
        one_speaks_among_the_living()

    def one_speaks_among_the_living() -> None:
        alive = [each for each in random.sample(everyone, count) if each not in wires.down]
        index = max(alive[:20], key=lambda each: len(reachable(model, each, wires.down)))
        word = wires.say_anew(index, model.lines_of()[index])
        wires.publish(index, word)
        component = reachable(model, index, wires.down)
        wires.wait_for((word,), component)

    measured("one has news, a tenth is down", some_fail, known, 600.0)

    def they_are_back() -> None:
        back, wires.down = wires.down, set()
        # They have lost everything: their store, too.
        for index in back:
            wires.nodes[index] = Spreading(Book(model.sites[index].name), wires.notary, every=EVERY)
            wires.nodes[index].book.take(wires.words[index])
            wires.meet(index, model.lines_of()[index])
        wires.wait_for(wires.words, everyone)

    measured("a tenth comes back with nothing", they_are_back, known, 600.0)

    def lines_fail() -> None:
        cut = set(random.sample(model.lines, len(model.lines) // 10))
        for index, near in enumerate(model.lines_of()):
            wires.meet(index, [line for line in near if line not in cut])
        index = random.randrange(count)
        word = wires.say_anew(index, model.lines_of()[index])
        wires.publish(index, word)
        left = Model(model.sites, tuple(line for line in model.lines if line not in cut))
        wires.wait_for((word,), reachable(left, index, set()))

    measured("one has news, a tenth of the lines is cut", lines_fail, known, 600.0)
    figures["verifying"] = verifying(wires)
    return figures


def reachable(model: Model, start: int, down: set[int]) -> set[int]:
    """Who is connected with `start`, by whoever is up."""
    beside = model.lines_of()
    seen, stack = {start}, [start]
    while stack:
        index = stack.pop()
        for line in beside[index]:
            other = line.b if line.a == index else line.a
            if other not in seen and other not in down:
                seen.add(other)
                stack.append(other)
    return seen


def longest_way(wires: Wires, sources: Iterable[int]) -> float:
    """Seconds that a message takes at least between the two that are furthest apart, of some."""
    beside: dict[int, list[tuple[int, float]]] = {index: [] for index in range(len(wires.nodes))}
    for (a, b), delay in wires.delays.items():
        beside[a].append((b, delay))
    longest = 0.0
    for source in sources:
        far = {source: 0.0}
        heap = [(0.0, source)]
        while heap:
            seconds, index = heapq.heappop(heap)
            if seconds > far[index]:
                continue
            for other, delay in beside[index]:
                if seconds + delay < far.get(other, float("inf")):
                    far[other] = seconds + delay
                    heapq.heappush(heap, (far[other], other))
        longest = max(longest, max(far.values()))
    return longest


def verifying(wires: Wires) -> dict[str, float]:
    """What reading and verifying a document costs, and what that comes to for all of them, at each composer."""
    notary, words = Signatures(), wires.words[:SAMPLE]
    began = time.process_time()
    read = [notary.read(word.document) for word in words]
    middle = time.process_time()
    assert all(notary.is_genuine(word, wires.members[word.member]) for word in read)
    end = time.process_time()
    each = (end - began) / len(words)
    return {
        "milliseconds_to_read": round((middle - began) / len(words) * 1000, 3),
        "milliseconds_to_verify": round((end - middle) / len(words) * 1000, 3),
        "seconds_for_all": round(each * len(wires.words), 2),
    }


def resident() -> int:
    """Octets of memory that this process has."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(count: int, seed: int, circuits: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """All figures. `circuits`: how many are ordered."""
    tell(f"making up a federation of {count} exchanges (seed {seed}) ...")
    began = time.process_time()
    model = generate(count, seed)
    figures: dict[str, Any] = {"exchanges": count, "lines": len(model.lines), "seed": seed}
    figures["spreading"] = spreading(model, seed, tell)
    if circuits:
        words = [model.advertisement(index, near, now=BEGIN, version=1) for index, near in enumerate(model.lines_of())]
        figures["circuits"] = bench_circuits.measure(model, Atlas(words, BEGIN + 1), seed, circuits, tell)
    figures["processor_seconds"] = round(time.process_time() - began, 1)
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    return figures


def show(figures: dict[str, Any]) -> None:
    """The figures as a person reads them."""
    import click

    from meetme.cli.output import print_table

    spread = figures["spreading"]
    size, memory, verified = spread["document_octets"], spread["memory"], spread["verifying"]
    click.echo(f"{figures['exchanges']} exchanges, {figures['lines']} lines, seed {figures['seed']}")
    click.echo(f"a document: {size['median']} octets in the middle, {size['largest']} at most")
    rows = [
        (
            name,
            f"{each['seconds']:.2f}" if each["all_know"] else "never",
            str(each["among"]),
            f"{each['messages_a_composer']:g}",
            f"{each['octets_a_composer'] / 1000:.0f}",
            f"{each['processor_seconds']:.1f}",
        )
        for name, each in spread["moments"].items()
    ]
    heads = ("until all know", "seconds", "of", "messages each", "kilo-octets each", "processor, all")
    print_table(heads, rows, empty="")
    ratios = spread["ratios"]
    click.echo(
        f"from nothing: {ratios['copies_to_those_needed']} times the copies that are needed,"
        f" {ratios['seconds_to_the_longest_way']} times the longest way"
    )
    click.echo(
        f"each composer: {memory['octets_a_composer'] / 1e6:.1f} MB of memory,"
        f" {verified['seconds_for_all']:.2f} s of processor to read and verify all documents"
    )
    if "circuits" in figures:
        rows = [
            (
                name,
                f"{each['active']} of {each['ordered']}",
                str(each["crank_backs"]),
                _seconds(each["seconds_to_active"]),
                f"{each['messages_a_circuit']:g}",
                f"{each['circuits_a_processor_second']:g}",
            )
            for name, each in figures["circuits"].items()
        ]
        click.echo()
        heads = ("circuits", "active", "crank-backs", "seconds, median p99", "messages each", "a processor second")
        print_table(heads, rows, empty="")
        oversold = sum(each["oversold"] for each in figures["circuits"].values())
        without_end = sum(each["without_end"] for each in figures["circuits"].values())
        click.echo(f"oversold: {oversold}; neither active nor refused in the end: {without_end}")
    click.echo(figures["machine"])


def _seconds(times: dict[str, float | None]) -> str:
    return "-" if times["median"] is None else f"{times['median']:.2f}  {times['p99']:.2f}"
