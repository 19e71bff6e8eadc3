"""Lists: filters and pages (IX-API 2.1.0; pages as in 2.4 and later). Pure.

A filter that we do not know is ignored, as the standard has it; one with a value that cannot be is an error. Pages are
cut from the list in the order in which its objects came to be; a token keeps what came later out of the later pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from meetme.ixapi.answers import Document
from meetme.ixapi.objects import State
from meetme.model.errors import InvalidInput

MOST_PER_PAGE = 1000
_TYPES = ("exchange_lan", "p2p_vc", "p2mp_vc", "mp2mp_vc", "cloud_vc")


class Sort(StrEnum):
    """What the values of a filter are."""

    TEXT = "text"
    NUMBER = "number"
    STATE = "state"
    TYPE = "type"
    TRUTH = "truth"


Match = Callable[[Document, Any], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """How one query parameter chooses."""

    match: Match
    sort: Sort = Sort.TEXT


def field(name: str, sort: Sort = Sort.TEXT) -> Filter:
    """What has this value in a field; of a list: among others."""

    def match(document: Document, wanted: Any) -> bool:
        value = document.get(name)
        return wanted in value if isinstance(value, list) else bool(value == wanted)

    return Filter(match, sort)


def other(name: str, sort: Sort = Sort.TEXT) -> Filter:
    """What has another value in a field."""
    return Filter(lambda document, wanted: document.get(name) != wanted, sort)


def _capability(name: str, compare: Callable[[Any, Any], bool], sort: Sort = Sort.NUMBER) -> Filter:
    return Filter(
        lambda document, wanted: any(compare(each[name], wanted) for each in document.get("capabilities", ())), sort
    )


def _vlan(document: Document, wanted: int) -> bool:
    return bool(document["vlan_config"].get("vlan") == wanted)


def _bandwidth(document: Document, wanted: int) -> bool:
    least, most = document.get("bandwidth_min"), document.get("bandwidth_max")
    return (least is None or wanted >= least) and (most is None or wanted <= most)


def _texts(*names: str) -> dict[str, Filter]:
    return {name: field(name) for name in names}


_STATE = {"state": field("state", Sort.STATE), "state__is_not": other("state", Sort.STATE)}
_OWNED = _texts("managing_account", "consuming_account", "external_ref")
_SPEED = {
    "capability_media_type": _capability("media_type", lambda a, b: bool(a == b), Sort.TEXT),
    "capability_speed": _capability("speed", lambda a, b: bool(a == b)),
    "capability_speed__lt": _capability("speed", lambda a, b: bool(a < b)),
    "capability_speed__lte": _capability("speed", lambda a, b: bool(a <= b)),
    "capability_speed__gt": _capability("speed", lambda a, b: bool(a > b)),
    "capability_speed__gte": _capability("speed", lambda a, b: bool(a >= b)),
}
FILTERS: Mapping[str, Mapping[str, Filter]] = {
    "accounts": {**_STATE, **_texts("managing_account", "external_ref", "name")},
    "contacts": _OWNED,
    "roles": _texts("name"),
    "role-assignments": _texts("contact", "role"),
    "metro-areas": {},
    "metro-area-networks": _texts("name", "metro_area", "service_provider"),
    "facilities": _texts("organisation_name", "metro_area", "address_country", "address_locality", "postal_code"),
    "pops": _texts("facility", "metro_area_network"),
    "devices": {**_SPEED, **_texts("name", "facility", "pop")},
    "ports": {
        **_STATE,
        **_texts("media_type", "pop", "name", "external_ref", "device", "connection"),
        "speed": field("speed", Sort.NUMBER),
    },
    "connections": {
        **_STATE,
        **_OWNED,
        **_texts("mode", "name", "metro_area", "metro_area_network", "pop", "facility"),
        "mode__is_not": other("mode"),
    },
    "product-offerings": {
        **_texts(
            "name",
            "handover_metro_area",
            "handover_metro_area_network",
            "service_metro_area",
            "service_metro_area_network",
            "service_provider",
            "resource_type",
        ),
        "type": field("type", Sort.TYPE),
        "downgrade_allowed": field("downgrade_allowed", Sort.TRUTH),
        "upgrade_allowed": field("upgrade_allowed", Sort.TRUTH),
        "physical_port_speed": field("physical_port_speed", Sort.NUMBER),
        "bandwidth": Filter(_bandwidth, Sort.NUMBER),
    },
    "network-services": {**_STATE, **_OWNED, **_texts("product_offering"), "type": field("type", Sort.TYPE)},
    "network-service-configs": {
        **_STATE,
        **_OWNED,
        **_texts("network_service", "connection"),
        "type": field("type", Sort.TYPE),
        "capacity": field("capacity", Sort.NUMBER),
        "outer_vlan": Filter(_vlan, Sort.NUMBER),
        "inner_vlan": Filter(lambda _document, _wanted: False, Sort.NUMBER),
    },
}
"""For each collection, besides `id`, which all of them have."""

Query = Mapping[str, Sequence[str]]


def choose(collection: str, documents: Sequence[Document], query: Query) -> list[Document]:
    """The documents that pass every filter of the query. Raises InvalidInput `filter_invalid`."""
    found = list(documents)
    ids = wanted_ids(query)
    if ids is not None:
        found = [each for each in found if each["id"] in ids]
    for name, chosen in FILTERS[collection].items():
        for text in query.get(name, ()):
            wanted = _value(name, text, chosen.sort)
            found = [each for each in found if chosen.match(each, wanted)]
    return found


def wanted_ids(query: Query) -> frozenset[str] | None:
    """The ids that are asked for; None: any."""
    if "id" not in query:
        return None
    return frozenset(id for text in query["id"] for id in text.split(","))


def projected(documents: Sequence[Document], query: Query) -> list[Document]:
    """Only the fields that the query asks for (`fields`), and the type; each different answer once."""
    if not query.get("fields"):
        return list(documents)
    names = {name.strip() for text in query["fields"] for name in text.split(",")} | {"type"}
    found: list[Document] = []
    for each in documents:
        part = {name: value for name, value in each.items() if name in names}
        if part not in found:
            found.append(part)
    return found


# --- pages ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    documents: list[Document]
    whole: bool
    """It is the whole list."""
    total: int
    token: str
    """For the other pages of the same list."""


def page(documents: list[Document], query: Query) -> Page:
    """What the query asks for (`page_limit`, `page_offset`, `page_token`). Raises InvalidInput `filter_invalid`."""
    limit = _number(query, "page_limit", len(documents) if "page_limit" not in query else MOST_PER_PAGE)
    offset = _number(query, "page_offset", 0)
    token = query.get("page_token", ("",))[-1]
    if token:
        # What came after the first page was given out is not among the others: the list only grows at its end.
        count = _value("page_token", token, Sort.NUMBER)
        documents = documents[: max(0, count)]
    part = documents[offset : offset + min(limit, max(MOST_PER_PAGE, len(documents)))]
    return Page(part, len(part) == len(documents), len(documents), str(len(documents)))


def _number(query: Query, name: str, default: int) -> int:
    texts = query.get(name, ())
    if not texts:
        return default
    value: int = _value(name, texts[-1], Sort.NUMBER)
    if value < 0:
        raise _invalid(name, "must not be negative", texts[-1])
    return value


def _value(name: str, text: str, sort: Sort) -> Any:
    match sort:
        case Sort.NUMBER:
            digits = text.removeprefix("-")
            if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
                raise _invalid(name, "must be a whole number", text)
            return int(text)
        case Sort.STATE if text not in list(State):
            raise _invalid(name, "must be a state", text)
        case Sort.TYPE if text not in _TYPES:
            raise _invalid(name, f"must be one of {', '.join(_TYPES)}", text)
        case Sort.TRUTH:
            if text not in ("true", "false"):
                raise _invalid(name, "must be true or false", text)
            return text == "true"
    return text


def _invalid(name: str, rule: str, seen: str) -> InvalidInput:
    return InvalidInput("filter_invalid", f"{name}: {rule} ('{seen[:80]}')", field=name)
