"""Offers as people write them: TOML, read whole or not at all."""

from __future__ import annotations

from decimal import Decimal
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from meetme.catalog.offers import Needs, Offer, OfferEnd, Price
from meetme.catalog.offers_file import read_offers
from meetme.catalog.words import Connectivity
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, MeetMeError, NotFound

WHOLE = "[[offer]]\nname = 'x'\ntitle = 'x'\ncategory = 'x'\n"
FILE = """
[[offer]]
name = "backup"
title = "Backup vault"
category = "storage"
price = { amount = "9.90", currency = "EUR" }
prefix = "10.0.0.0/24"
address = "10.0.0.10"
ends = [{ exchange = "ixp-1", port = "p3" }]
needs = { bandwidth = 200, redundancy = "best_effort" }

[[offer]]
name = "page"
title = "A page"
category = "web"
connectivity = "none"
instructions = "https://b.example"
approval = true
"""


def test_a_file_is_read_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "offers.toml").write_text(FILE)
    assert read_offers(tmp_path / "offers.toml") == (
        Offer(
            name="backup",
            title="Backup vault",
            category="storage",
            price=Price(Decimal("9.90"), "EUR"),
            prefix=ip_network("10.0.0.0/24"),
            address=ip_address("10.0.0.10"),
            ends=(OfferEnd(MemberId("ixp-1"), "p3"),),
            needs=Needs(bandwidth=200, redundancy="best_effort"),
        ),
        Offer(
            name="page",
            title="A page",
            category="web",
            connectivity=Connectivity.NONE,
            instructions="https://b.example",
            approval=True,
        ),
    )


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("[[offer]", "offers_malformed", "must be TOML"),
        ("[offer]\nname = 'x'", "offers_malformed", "must have [[offer]] tables"),
        ("[[offers]]\nname = 'x'", "offers_malformed", "must have [[offer]] tables"),
        ("offer = [1]", "offers_malformed", "must have [[offer]] tables"),
        ("[[offer]]\nnamee = 'x'", "offer_field_unknown", 'offer[0].namee: must be a field of an offer ("namee")'),
        ("[[offer]]\nname = 'x'\nneeds = { speed = 1 }", "offer_field_unknown", "offer[0].needs.speed: "),
        ("[[offer]]\nname = 'x'\nends = [{ ixp = 'a' }]", "offer_field_unknown", "offer[0].ends[0].ixp: "),
        ("[[offer]]\nname = 'x'", "offer_malformed", "offer[0].title: "),
        (f"{WHOLE}prefix = '10.0.0.1/24'", "offer_malformed", "offer[0].prefix"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, code: str, said: str) -> None:
    (tmp_path / "offers.toml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_offers(tmp_path / "offers.toml")
    assert caught.value.code == code
    assert said in caught.value.text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        read_offers(tmp_path / "none.toml")
    assert caught.value.code == "offers_missing"
    assert isinstance(caught.value, MeetMeError)
