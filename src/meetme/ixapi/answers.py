"""Services, configs and the plant as IX-API shows them (2.1.0; later versions' fields beside). Pure.

Where 2.1.0 does not allow null, a field without a value is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from meetme.ixapi.objects import P2P_VC, WHOLE_PORT, Cancellation, Config, Owners, Papers, Service, State, Status
from meetme.ixapi.plant import Connection
from meetme.model.errors import NotFound

Document = dict[str, Any]
MEDIA = {1000: "1000BASE-LX", 10000: "10GBASE-LR", 25000: "25GBASE-LR", 40000: "40GBASE-LR4", 100000: "100GBASE-LR4"}
"""The usual optics of a speed (Mbit/s)."""


def service(s: Service) -> Document:
    """P2PNetworkService."""
    return {
        "type": P2P_VC,
        "id": s.id,
        "state": s.state.value,
        "status": statuses(s.status),
        "product_offering": s.offering,
        "capacity": s.capacity,
        "joining_member_account": s.joining,
        "nsc_required_contact_roles": [],
        "nsc_product_offerings": [],
        **_owned(s.owners, s.papers),
        **cancellation(s.cancelled),
    }


def config(c: Config) -> Document:
    """P2PNetworkServiceConfig."""
    return {
        "type": P2P_VC,
        "id": c.id,
        "state": c.state.value,
        "status": statuses(c.status),
        "network_service": c.service,
        "connection": c.connection,
        "vlan_config": vlan_config(c),
        "capacity": c.capacity,
        "role_assignments": list(c.roles),
        "network_feature_configs": [],
        **_owned(c.owners, c.papers),
        **cancellation(c.cancelled),
    }


def vlan_config(c: Config) -> Document:
    """VlanConfig, always with the number."""
    if c.vlan == WHOLE_PORT:
        return {"vlan_type": "port"}
    return {"vlan_type": "dot1q", "vlan": c.vlan, "vlan_ethertype": c.ethertype}


def cancellation(terms: Cancellation | None) -> Document:
    """CancellationPolicy."""
    if terms is None:
        return {}
    return {
        "decommission_at": terms.decommission_at.isoformat(),
        "charged_until": terms.charged_until.isoformat(),
    }


def statuses(status: tuple[Status, ...]) -> list[Document]:
    """Status entries, the worst first."""
    return [
        {
            "severity": each.severity,
            "tag": each.tag,
            "message": each.message,
            "attrs": dict(each.attrs),
            "timestamp": datetime.fromtimestamp(each.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        for each in sorted(status, key=lambda each: each.severity)
    ]


def connection(c: Connection, manager: str, allocated: int, place: Mapping[str, str]) -> Document:
    """Connection; how much is allocated, and where it is, as later versions say it."""
    return {
        "id": c.id,
        "name": c.name,
        "state": State.PRODUCTION.value,
        "status": [],
        "mode": "standalone",
        "lacp_timeout": None,
        "speed": c.speed,
        "capacity_allocated": allocated,
        "capacity_allocation_limit": c.limit,
        "ports": [port_id(c)],
        "port_quantity": 1,
        "vlan_types": [each.value for each in c.vlan_types],
        "outer_vlan_ethertypes": ["0x8100"],
        "role_assignments": [],
        **place,
        **_owned(Owners(manager, c.account, c.account), Papers(c.external_ref)),
    }


def port(c: Connection, manager: str, device: str, place: Mapping[str, str]) -> Document:
    """Port: that of a connection; we have no others."""
    return {
        "id": port_id(c),
        "name": c.port,
        "state": State.PRODUCTION.value,
        "status": [],
        "connection": c.id,
        "device": device,
        "pop": place["pop"],
        "media_type": MEDIA.get(c.speed, "10GBASE-LR"),
        "speed": c.speed,
        "role_assignments": [],
        **_owned(Owners(manager, c.account, c.account), Papers(c.external_ref)),
    }


def port_id(c: Connection) -> str:
    """The id of a connection's port."""
    return f"port-{c.id}"


def _owned(owners: Owners, papers: Papers) -> Document:
    return {
        "managing_account": owners.managing,
        "consuming_account": owners.consuming,
        "billing_account": owners.billing,
        "external_ref": papers.external_ref,
        "purchase_order": papers.purchase_order,
        "contract_ref": papers.contract_ref,
    }


def pending_change(service: Service | Config) -> Document:
    """The change that was asked for (later versions). Raises NotFound `change_unknown` where there is none."""
    change = service.change if isinstance(service, Service) else None
    if change is None:
        raise NotFound("change_unknown", "change-request: must be pending", field="id")
    return {"product_offering": change.offering, "capacity": change.capacity}
