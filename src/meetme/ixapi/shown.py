"""What an exchange shows of its objects, as far as an order needs it, read from any IX-API 2.x. Pure.

Reading is tolerant: an unknown field is not looked at, an unknown state is one to wait in, an unknown type is not ours,
a field of a wrong type counts as missing. Only an object without an id is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from meetme.ixapi.orders import ExchangeConnection, Terms

P2P = "p2p_vc"
"""The type of a service between two connections, and of its configs."""


class Standing(StrEnum):
    """What a state of IX-API (2.1.0, Stateful) means for whoever waits."""

    COMING = "coming"
    """On its way, or in a state that we do not know."""
    PERSON = "person"
    """It waits for a person at the exchange, or for a date."""
    READY = "ready"
    CHANGING = "changing"
    """In production, with a change on its way."""
    FAILED = "failed"
    LEAVING = "leaving"
    GONE = "gone"


_STANDINGS = {
    "production": Standing.READY,
    "production_change_pending": Standing.CHANGING,
    "operator": Standing.PERSON,
    "scheduled": Standing.PERSON,
    "error": Standing.FAILED,
    "decommission_requested": Standing.LEAVING,
    "decommissioned": Standing.GONE,
    "archived": Standing.GONE,
    "cancelled": Standing.GONE,
}


@dataclass(frozen=True, slots=True)
class ShownService:
    """A network service."""

    id: str
    state: str
    standing: Standing
    reference: str | None = None
    offering: str | None = None
    capacity: int | None = None
    joining_account: str | None = None
    required_roles: tuple[str, ...] = ()
    """Roles for which its configs have to name somebody."""
    config_offerings: tuple[str, ...] = ()
    """Product offerings of which its configs have to name one (later versions)."""
    decommission_at: date | None = None
    says: str = ""
    """What its status says is wrong or missing."""


@dataclass(frozen=True, slots=True)
class ShownConfig:
    """A network service config: one end of a service."""

    id: str
    state: str
    standing: Standing
    reference: str | None = None
    service: str | None = None
    connection: str | None = None
    whole: bool = False
    """Whether it has the whole port."""
    vlan: int | None = None
    """The outer one where there are two; None: a whole port, or not chosen yet."""
    capacity: int | None = None
    """Mbit/s; None: not limited."""
    decommission_at: date | None = None
    says: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """All that an exchange shows of one order; what is gone is left out."""

    services: tuple[ShownService, ...] = ()
    configs: tuple[ShownConfig, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether nothing of the order is there."""
        return not self.services and not self.configs


@dataclass(frozen=True, slots=True)
class Offering:
    """A product offering for services between two connections."""

    id: str
    name: str = ""
    bandwidth_min: int | None = None
    """Mbit/s; None: no limit."""
    bandwidth_max: int | None = None
    upgrade_allowed: bool = True
    downgrade_allowed: bool = True
    handover_area: str | None = None
    """Metro area of end a."""
    service_area: str | None = None
    """Metro area of end b."""
    orderable_from: date | None = None
    orderable_until: date | None = None
    notice_days: int | None = None
    """How long before it can be gone after it was ordered, at least; None: not said (before 2.4)."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """What an exchange says that it can (IX-API 2.1.0, `/implementation`)."""

    version: str | None = None
    """Of the schema: "2.4.2"; None: it does not say."""
    operations: frozenset[str] = frozenset()
    """Normalised names (`operation`); empty: it does not say."""
    pagination: bool = False

    def offers(self, name: str) -> bool:
        """Whether `name` can be asked for. What is not said is tried."""
        return not self.operations or operation(name) in self.operations


def operation(name: str) -> str:
    """An operation's name as it can be compared: versions write `network-service-..._create` in several ways."""
    return "".join(c for c in name.lower() if c.isalnum())


def standing(state: str) -> Standing:
    """What `state` means; one that nobody knows is waited in."""
    return _STANDINGS.get(state, Standing.COMING)


# --- reading ----------------------------------------------------------------------------------------------------------


def read_service(raw: object) -> ShownService | None:
    """A service between two connections; None: something else, or not an object of IX-API at all."""
    facts, id = _object(raw)
    if id is None or _text(facts, "type") not in (P2P, None):
        return None
    state = _text(facts, "state") or ""
    return ShownService(
        id=id,
        state=state,
        standing=_standing(facts, state),
        reference=_text(facts, "external_ref"),
        offering=_text(facts, "product_offering"),
        capacity=_number(facts, "capacity"),
        joining_account=_text(facts, "joining_member_account"),
        required_roles=_texts(facts, "nsc_required_contact_roles"),
        config_offerings=_texts(facts, "nsc_product_offerings"),
        decommission_at=_day(facts, "decommission_at"),
        says=_says(facts),
    )


def read_config(raw: object) -> ShownConfig | None:
    """A config of such a service, or None."""
    facts, id = _object(raw)
    if id is None or _text(facts, "type") not in (P2P, None):
        return None
    state = _text(facts, "state") or ""
    tagging = facts.get("vlan_config")
    tagging = tagging if isinstance(tagging, Mapping) else {}
    kind = _text(tagging, "vlan_type")
    return ShownConfig(
        id=id,
        state=state,
        standing=_standing(facts, state),
        reference=_text(facts, "external_ref"),
        service=_text(facts, "network_service"),
        connection=_text(facts, "connection"),
        whole=kind == "port",
        vlan=None if kind == "port" else _number(tagging, "vlan") or _number(tagging, "outer_vlan"),
        capacity=_number(facts, "capacity"),
        decommission_at=_day(facts, "decommission_at"),
        says=_says(facts),
    )


def read_offering(raw: object) -> Offering | None:
    """A product offering for services between two connections, or None."""
    facts, id = _object(raw)
    if id is None or _text(facts, "type") not in (P2P, None):
        return None
    if _text(facts, "resource_type") not in ("network_service", None):
        return None
    return Offering(
        id=id,
        name=_text(facts, "display_name") or _text(facts, "name") or "",
        bandwidth_min=_number(facts, "bandwidth_min"),
        bandwidth_max=_number(facts, "bandwidth_max"),
        upgrade_allowed=facts.get("upgrade_allowed") is not False,
        downgrade_allowed=facts.get("downgrade_allowed") is not False,
        handover_area=_text(facts, "handover_metro_area"),
        service_area=_text(facts, "service_metro_area"),
        orderable_from=_day(facts, "orderable_not_before"),
        orderable_until=_day(facts, "orderable_not_after"),
        notice_days=_most(_days(facts, "contract_initial_period"), _days(facts, "contract_initial_notice_period")),
    )


def read_connection(raw: object) -> ExchangeConnection | None:
    """A connection, or None."""
    facts, id = _object(raw)
    if id is None:
        return None
    state = standing(_text(facts, "state") or "production")
    return ExchangeConnection(
        id=id,
        name=_text(facts, "name") or "",
        usable=state in (Standing.READY, Standing.CHANGING),
        speed=_number(facts, "speed"),
        allocated=_number(facts, "capacity_allocated"),
        limit=_number(facts, "capacity_allocation_limit"),
        tags=frozenset(_texts(facts, "vlan_types")),
        account=_text(facts, "consuming_account"),
        metro_area=_text(facts, "metro_area"),
        facility=_text(facts, "facility"),
        external_ref=_text(facts, "external_ref"),
    )


def read_terms(raw: object) -> Terms:
    """A cancellation policy."""
    facts = raw if isinstance(raw, Mapping) else {}
    return Terms(_day(facts, "decommission_at"), _day(facts, "charged_until"))


def read_implementation(raw: object) -> Implementation:
    """What `/implementation` says."""
    facts = raw if isinstance(raw, Mapping) else {}
    features = facts.get("supported_features")
    features = features if isinstance(features, Mapping) else {}
    return Implementation(
        version=_text(facts, "schema_version"),
        operations=frozenset(operation(name) for name in _texts(facts, "supported_operations")),
        pagination=features.get("pagination") is True,
    )


def read_all(read: Any, raws: Iterable[object]) -> tuple[Any, ...]:
    """Everything in `raws` that `read` knows."""
    return tuple(found for raw in raws if (found := read(raw)) is not None)


def _object(raw: object) -> tuple[Mapping[str, Any], str | None]:
    facts = raw if isinstance(raw, Mapping) else {}
    id = facts.get("id")
    # Some exchanges number their objects.
    return facts, str(id) if isinstance(id, str | int) and not isinstance(id, bool) and id != "" else None


def _standing(facts: Mapping[str, Any], state: str) -> Standing:
    found = standing(state)
    # One that was cancelled for a later day stays in production until then.
    if found is not Standing.GONE and _day(facts, "decommission_at") is not None:
        return Standing.LEAVING
    return found


def _text(facts: Mapping[str, Any], key: str) -> str | None:
    value = facts.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _number(facts: Mapping[str, Any], key: str) -> int | None:
    value = facts.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _texts(facts: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = facts.get(key)
    return tuple(str(each) for each in value if isinstance(each, str | int)) if isinstance(value, list) else ()


def _day(facts: Mapping[str, Any], key: str) -> date | None:
    try:
        return date.fromisoformat((_text(facts, key) or "")[:10])
    except ValueError:
        return None


def _days(facts: Mapping[str, Any], key: str) -> int | None:
    """An ISO 8601 duration in days, rounded up, a month as 31 and a year as 366."""
    text, total, digits = _text(facts, key) or "", 0, ""
    if not text.startswith("P"):
        return None
    for sign in text[1:].partition("T")[0]:
        if sign.isdigit():
            digits += sign
        elif digits and sign in (lengths := {"D": 1, "W": 7, "M": 31, "Y": 366}):
            total, digits = total + int(digits) * lengths[sign], ""
        else:
            return None
    return total + (1 if "T" in text else 0)


def _most(*values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _says(facts: Mapping[str, Any]) -> str:
    """The messages of its status that are warnings or worse (syslog severity 4 and below), else what is missing."""
    status = facts.get("status")
    messages: list[str] = []
    for each in status if isinstance(status, list) else ():
        if isinstance(each, Mapping):
            text = _text(each, "message") or _text(each, "tag")
            severity = _number(each, "severity")
            if text is not None and (severity is None or severity <= 4):
                messages.append(text[:200])
    return "; ".join(messages[:3])
