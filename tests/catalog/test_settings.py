"""The catalogue's settings: what is refused, by name of the key."""

from __future__ import annotations

import pytest

from meetme.catalog.settings import CatalogSettings


@pytest.mark.parametrize(
    "url", ["https://catalogue.example.net", "http://[2001:db8::1]:8472/", "https://a.example:8443"]
)
def test_where_people_reach_the_page(url: str) -> None:
    assert list(CatalogSettings(web_url=url).problems()) == []


@pytest.mark.parametrize(
    "url",
    ["", "catalogue.example.net", "ftp://a.example", "https://", "https://[", "https://a.example/shop", "https://a.example?x",
     "https://anna@a.example"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(url: str) -> None:
    assert [(each.code, each.field) for each in CatalogSettings(web_url=url).problems()] == [
        ("web_url_invalid", "web_url")
    ]
