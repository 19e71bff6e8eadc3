"""Prefix arithmetic, against sets of addresses enumerated one by one."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.model.addresses import (
    Prefix,
    Spans,
    free_blocks_in,
    free_prefixes,
    overlaps,
    overlaps_any,
    parse_address,
    parse_prefix,
    translate,
    within,
)
from meetme.model.errors import InvalidInput

BASE = {4: int(ip_address("10.0.0.0")), 6: int(ip_address("fd00::"))}
BITS = {4: 32, 6: 128}
SPACE = 6
"""Bits of the little address space that the prefixes below are drawn from."""


def addresses(prefix: Prefix) -> set[tuple[int, int]]:
    first = int(prefix.network_address)
    return {(prefix.version, first + i) for i in range(prefix.num_addresses)}


@st.composite
def prefixes(draw: st.DrawFn, version: int | None = None) -> Prefix:
    family = version or draw(st.sampled_from([4, 6]))
    free = draw(st.integers(0, SPACE))
    block = draw(st.integers(0, (1 << (SPACE - free)) - 1))
    return ip_network((BASE[family] + (block << free), BITS[family] - free))


@given(prefixes(), prefixes())
def test_overlap_is_a_shared_address(a: Prefix, b: Prefix) -> None:
    assert overlaps(a, b) == bool(addresses(a) & addresses(b))
    assert within(a, b) == (addresses(a) <= addresses(b))


@given(prefixes(), st.lists(prefixes(), max_size=6))
def test_overlap_with_any(a: Prefix, others: list[Prefix]) -> None:
    assert overlaps_any(a, others) == bool(addresses(a) & set().union(*map(addresses, others)))


@given(prefixes(), st.integers(0, SPACE), st.lists(prefixes(), max_size=8))
def test_free_prefixes_are_those_that_touch_nothing_taken(pool: Prefix, free: int, taken: list[Prefix]) -> None:
    length = BITS[pool.version] - free
    busy = set().union(*map(addresses, taken))
    expected = []
    if length >= pool.prefixlen:
        expected = [p for p in pool.subnets(new_prefix=length) if not addresses(p) & busy]
    assert list(free_prefixes(pool, length, taken)) == expected


@given(prefixes(), st.integers(0, SPACE), st.lists(prefixes(), max_size=8))
def test_free_blocks_are_all_that_is_free_in_as_few_as_can_be(pool: Prefix, free: int, taken: list[Prefix]) -> None:
    longest = BITS[pool.version] - free
    busy = set().union(*map(addresses, taken))
    found = list(free_blocks_in(pool, longest, Spans(taken)))
    assert found == sorted(found)
    every = list(free_blocks_in(pool, BITS[pool.version], taken))
    assert found == [block for block in every if block.prefixlen <= longest]
    covered = [address for block in every for address in addresses(block)]
    assert len(covered) == len(set(covered))
    assert set(covered) == addresses(pool) - busy
    for block in every:
        assert block == pool or addresses(block.supernet()) & (busy | (addresses(block.supernet()) - addresses(pool)))


def test_free_prefixes_skip_a_large_taken_range_at_once() -> None:
    pool = ip_network("fd00::/16")
    half = ip_network("fd00::/17")
    assert isinstance(pool, IPv6Network)
    assert next(free_prefixes(pool, 128, [half])) == ip_network("fd00:8000::/128")


@given(prefixes(), st.data())
def test_translation_keeps_the_host_bits_and_can_be_undone(real: Prefix, data: st.DataObject) -> None:
    alias = data.draw(
        st.sampled_from(sorted(ip_network((BASE[real.version] + (1 << 20), real.prefixlen - 2)).subnets(2)))
    )
    offset = data.draw(st.integers(0, real.num_addresses - 1))
    there = translate(real[offset], real, alias)
    assert there == alias[offset]
    assert translate(there, alias, real) == real[offset]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "prefix_malformed"),
        ("10.0.0.0/33", "prefix_malformed"),
        ("10.0.0/24", "prefix_malformed"),
        ("vm1", "prefix_malformed"),
        ("10.0.0.1/24", "prefix_host_bits"),
        ("fd00::1/64", "prefix_host_bits"),
        ("0.0.0.0/0", "prefix_default_route"),
        ("::/0", "prefix_default_route"),
        ("10.0.0.1/0", "prefix_default_route"),
    ],
)
def test_a_bad_prefix_is_refused_by_name(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_prefix(text, field="local_subnets[2]")
    assert caught.value.code == code
    assert caught.value.field == "local_subnets[2]"
    assert caught.value.text.startswith("local_subnets[2]: ")
    assert caught.value.hint


@given(prefixes())
def test_a_prefix_is_read_as_it_is_written(prefix: Prefix) -> None:
    assert parse_prefix(f" {prefix} ", field="x") == prefix


def test_the_hint_names_the_prefix_that_was_meant() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_prefix("10.0.0.77/26", field="x")
    assert "10.0.0.64/26" in caught.value.hint


def test_an_address_has_no_length() -> None:
    assert parse_address(" 10.0.0.1 ", field="x") == ip_address("10.0.0.1")
    with pytest.raises(InvalidInput) as caught:
        parse_address("10.0.0.1/24", field="probe_target")
    assert (caught.value.code, caught.value.field) == ("address_malformed", "probe_target")
