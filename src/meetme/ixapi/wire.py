"""JSON and values: what is stored, and what customers send. The only file of the server that knows pydantic.

Requests are read tolerantly: a field that we do not know may be one of a later version, and is not looked at. What they
say of fields that we know is checked, and everything that is wrong is said at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, with_config

from meetme.ixapi.bundle import Bundle
from meetme.ixapi.objects import Config, Owners, Papers, Service
from meetme.model.errors import InvalidInput, Problem

T = TypeVar("T")
_STRICT: ConfigDict = {"strict": True, "extra": "ignore"}
_LARGEST = 2**31 - 1
Id = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Text80 = Annotated[str, StringConstraints(max_length=80)]
Text128 = Annotated[str, StringConstraints(max_length=128)]
Capacity = Annotated[int, Field(ge=1, le=_LARGEST)]
Vlan = Annotated[int, Field(ge=1, le=4094)]
Ethertype = Literal["0x8100", "0x88a8", "0x9100"]


def _adapter(kind: Any) -> TypeAdapter[Any]:
    return _built(kind)


@cache
def _built(kind: Any) -> TypeAdapter[Any]:
    # When first needed: building one takes longer than everything a command line does.
    return TypeAdapter(kind)


def warm_up() -> None:
    """Build every adapter now, so that the first order is as quick as the others."""
    for kind in (Bundle, Service, Config, ServiceRequest, ConfigRequest):
        _adapter(kind)


# --- what is stored ---------------------------------------------------------------------------------------------------


def store_bundle(bundle: Bundle) -> str:
    """As it is stored."""
    return _adapter(Bundle).dump_json(bundle).decode()


def load_bundle(body: str) -> Bundle:
    """What `store_bundle` wrote."""
    found: Bundle = _adapter(Bundle).validate_json(body)
    return found


def store_service(service: Service) -> str:
    """As it is stored beside its bundle, for lists; its configs are stored apart."""
    return _adapter(Service).dump_json(replace(service, configs=())).decode()


def load_service(body: str) -> Service:
    """What `store_service` wrote."""
    found: Service = _adapter(Service).validate_json(body)
    return found


def store_config(config: Config) -> str:
    """As it is stored beside its bundle, for lists."""
    return _adapter(Config).dump_json(config).decode()


def load_config(body: str) -> Config:
    """What `store_config` wrote."""
    found: Config = _adapter(Config).validate_json(body)
    return found


# --- what customers send ----------------------------------------------------------------------------------------------


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequest:
    """P2PNetworkServiceRequest (2.1.0); `capacity` is of later versions."""

    type: Literal["p2p_vc"]
    managing_account: Id
    consuming_account: Id
    billing_account: Id
    joining_member_account: Id
    product_offering: Id
    capacity: Capacity | None = None
    external_ref: Text128 | None = None
    purchase_order: Text80 | None = ""
    contract_ref: Text128 | None = None

    @property
    def owners(self) -> Owners:
        """Whose it shall be."""
        return Owners(self.managing_account, self.consuming_account, self.billing_account)

    @property
    def papers(self) -> Papers:
        """What the customer notes on it."""
        return Papers(self.external_ref, self.purchase_order or "", self.contract_ref)


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class PortTagging:
    """VLanConfigPort: the whole connection."""

    vlan_type: Literal["port"]


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Dot1qTagging:
    """VLanConfigDot1Q; `vlan` null (2.4.2 and later): the exchange chooses."""

    vlan_type: Literal["dot1q"]
    vlan: Vlan | None = None
    vlan_ethertype: Ethertype | None = "0x8100"


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class QinqTagging:
    """VLanConfigQinQ, which no connection here takes."""

    vlan_type: Literal["qinq"]


Tagging = Annotated[PortTagging | Dot1qTagging | QinqTagging, Field(discriminator="vlan_type")]


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRequest:
    """P2PNetworkServiceConfigRequest (2.1.0)."""

    type: Literal["p2p_vc"]
    managing_account: Id
    consuming_account: Id
    billing_account: Id
    network_service: Id
    connection: Id
    vlan_config: Tagging
    role_assignments: tuple[Id, ...] = ()
    capacity: Capacity | None = None
    external_ref: Text128 | None = None
    purchase_order: Text80 | None = ""
    contract_ref: Text128 | None = None

    @property
    def owners(self) -> Owners:
        """Whose it shall be."""
        return Owners(self.managing_account, self.consuming_account, self.billing_account)

    @property
    def papers(self) -> Papers:
        """What the customer notes on it."""
        return Papers(self.external_ref, self.purchase_order or "", self.contract_ref)


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBody:
    """NetworkServiceChangeRequest (2.1.0)."""

    product_offering: Id
    capacity: Capacity | None = None


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationBody:
    """CancellationRequest (2.1.0)."""

    decommission_at: date | None = None


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBody:
    """AuthTokenRequest (2.1.0)."""

    api_key: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    api_secret: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshBody:
    """RefreshTokenRequest (2.1.0)."""

    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=8192)]


def read(kind: type[T], document: Any) -> T:
    """What a customer sent. Raises InvalidInput `fields_invalid` with every field that is wrong."""
    if not isinstance(document, Mapping):
        raise InvalidInput("body_malformed", "body: must be a JSON object", field="body")
    try:
        # As JSON, so that strict reading knows its few types: a list stands for a tuple, a text for a date.
        result: T = _adapter(kind).validate_json(json.dumps(document))
    except ValidationError as error:
        found = tuple(_problem(each) for each in error.errors(include_url=False, include_input=False))
        first = found[0]
        raise InvalidInput(first.code, first.text, hint=first.hint, field=first.field, problems=found) from None
    return result


def merged(document: Mapping[str, Any], patch: Any) -> dict[str, Any]:
    """A document with a merge patch (RFC 7396) applied: null takes a field away.

    Raises InvalidInput `body_malformed`.
    """
    if not isinstance(patch, Mapping):
        raise InvalidInput("body_malformed", "body: must be a JSON object", field="body")
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _problem(error: Any) -> Problem:
    # A tagged union names its choice too; that is no field.
    parts = [str(part) for part in error["loc"] if part not in ("port", "dot1q", "qinq")]
    where = ".".join(parts) or "body"
    rule = str(error["msg"]).removeprefix("Input ").removeprefix("should ").lower()
    text = "must be given" if error["type"] == "missing" else f"must {rule}"
    return Problem("fields_invalid", f"{where}: {text}", "", where)
