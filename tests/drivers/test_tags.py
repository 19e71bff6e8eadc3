"""Whose an interface is, as the kernel keeps it."""

from __future__ import annotations

import pytest

from meetme.drivers.kernel.tags import circuit_of, tag_of


@pytest.mark.parametrize(
    "circuit", ["c1", "direct:csp-a:csp-b", "0198d2a0-0000#2", "100%", "a b", "it's", 'say "x"', "back\\slash", "größe"]
)
def test_every_circuit_is_found_again_and_a_batch_takes_its_tag_as_one_word(circuit: str) -> None:
    tag = tag_of(circuit)
    assert circuit_of(tag) == circuit
    assert not set(tag) & set("#\"'\\ \t\n")


def test_what_is_plain_stays_readable() -> None:
    assert tag_of("direct:csp-a:csp-b/eth0") == "meetme:direct:csp-a:csp-b/eth0"


def test_another_s_interface_is_nobody_s() -> None:
    assert circuit_of("uplink to ix") is None
