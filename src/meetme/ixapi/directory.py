"""What the exchange shows of itself, read from the settings: accounts, contacts, places, devices, product offerings.

Every document is one of IX-API 2.1.0, with fields of later versions beside. Ids are made of names, so that they stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from meetme.ixapi import answers
from meetme.ixapi.access import Who
from meetme.ixapi.answers import Document
from meetme.ixapi.claims import place_of
from meetme.ixapi.objects import P2P_VC, State
from meetme.ixapi.plant import Connection, Plant
from meetme.ixapi.settings import AccountSetting, FacilitySetting, IxApiSettings

ROLES = {
    "noc": ("name", "email"),
    "implementation": ("name", "email"),
    "peering": ("email",),
    "legal": ("name", "email"),
}
"""The well-known roles of IX-API, and what a contact has to say for each."""
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Directory:
    """All collections that only the exchange itself changes."""

    settings: IxApiSettings
    plant: Plant

    def accounts(self, who: Who) -> list[Document]:
        """Those that one may act for, and the one that manages the own."""
        return [self._account(a) for a in self.settings.account if a.id in who.under]

    def contacts(self, who: Who) -> list[Document]:
        """Contacts of these accounts."""
        return [
            {
                "id": c.id,
                "name": c.name or None,
                "email": c.email or None,
                "telephone": c.telephone or None,
                "managing_account": self._manager(c.account),
                "consuming_account": c.account,
                "external_ref": None,
            }
            for c in self.settings.contact
            if c.account in who.under
        ]

    def roles(self, _who: Who) -> list[Document]:
        """What a contact can be for."""
        return [{"id": name, "name": name, "required_fields": list(needs)} for name, needs in ROLES.items()]

    def role_assignments(self, who: Who) -> list[Document]:
        """Which contact is what."""
        return [
            {"id": role_assignment(c.id, role), "role": role, "contact": c.id}
            for c in self.settings.contact
            if c.account in who.under
            for role in c.roles
            if role in ROLES
        ]

    def assignments(self) -> frozenset[str]:
        """Ids of all role assignments, whoever has them."""
        return frozenset(role_assignment(c.id, role) for c in self.settings.contact for role in c.roles)

    # --- where it is --------------------------------------------------------------------------------------------------

    @property
    def metro_area_id(self) -> str:
        """Of the one metro area."""
        return f"metro-{_slug(self.settings.metro_area or self.settings.name)}"

    @property
    def network_id(self) -> str:
        """Of the one metro area network."""
        return f"man-{_slug(self.settings.name)}"

    def metro_areas(self, _who: Who) -> list[Document]:
        """The one that it is in."""
        s = self.settings
        return [
            {
                "id": self.metro_area_id,
                "un_locode": s.un_locode[:6],
                "iata_code": s.iata_code[:3],
                "display_name": (s.metro_area or s.name)[:64],
                "facilities": [facility_id(name) for name in self._facilities()],
                "metro_area_networks": [self.network_id],
            }
        ]

    def metro_area_networks(self, _who: Who) -> list[Document]:
        """The one that it is."""
        return [
            {
                "id": self.network_id,
                "name": self.settings.name[:32],
                "metro_area": self.metro_area_id,
                "service_provider": self.settings.name[:128],
                "pops": [pop_id(name) for name in self._facilities()],
            }
        ]

    def facilities(self, _who: Who) -> list[Document]:
        """Where its switches stand, and where connections are handed over."""
        known = {each.name: each for each in self.settings.facility}
        return [self._facility(known.get(name, FacilitySetting(name))) for name in self._facilities()]

    def pops(self, _who: Who) -> list[Document]:
        """One for each facility."""
        return [
            {
                "id": pop_id(name),
                "name": name[:40],
                "facility": facility_id(name),
                "metro_area_network": self.network_id,
                "devices": [device_id(s.name) for s in self.plant.switches.values() if s.facility == name],
            }
            for name in self._facilities()
        ]

    def devices(self, _who: Who) -> list[Document]:
        """Its switches."""
        return [
            {
                "id": device_id(switch.name),
                "name": switch.name,
                "pop": pop_id(switch.facility),
                "facility": facility_id(switch.facility),
                "capabilities": [
                    {
                        "media_type": answers.MEDIA.get(speed, "10GBASE-LR"),
                        "speed": speed,
                        "max_lag": 1,
                        "availability": 0,
                    }
                    for speed in sorted({c.speed for c in self._at(switch.name)})
                ],
            }
            for switch in self.plant.switches.values()
        ]

    # --- what is there to order at, and what to order -----------------------------------------------------------------

    def connections(self, who: Who, allocated: Mapping[str, int]) -> list[Document]:
        """Those of the accounts that one may act for; `allocated`: Mbit/s by place."""
        return [
            answers.connection(c, self._manager(c.account), allocated.get(place_of(c), 0), self._place(c))
            for c in self._seen(who)
        ]

    def ports(self, who: Who) -> list[Document]:
        """Their ports."""
        return [answers.port(c, self._manager(c.account), device_id(c.switch), self._place(c)) for c in self._seen(who)]

    def product_offerings(self, _who: Who) -> list[Document]:
        """What can be ordered."""
        provider = self.settings.name[:128]
        return [
            {
                "type": P2P_VC,
                "id": o.id,
                "name": (o.name or o.id)[:160],
                "display_name": (o.name or o.id)[:256],
                "resource_type": "network_service",
                "handover_metro_area_network": self.network_id,
                "handover_metro_area": self.metro_area_id,
                "service_metro_area_network": self.network_id,
                "service_metro_area": self.metro_area_id,
                "service_provider": provider,
                "bandwidth_min": o.bandwidth_min,
                "bandwidth_max": o.bandwidth_max,
                "physical_port_speed": None,
                "provider_vlans": "single",
                "upgrade_allowed": o.upgrade_allowed,
                "downgrade_allowed": o.downgrade_allowed,
                "contract_initial_period": f"P{o.least_days}D",
                "contract_initial_notice_period": f"P{o.notice_days}D",
                "contract_renewal_period": "P0D",
                "contract_renewal_notice_period": f"P{o.notice_days}D",
            }
            for o in self.settings.offerings()
        ]

    # --- inside -------------------------------------------------------------------------------------------------------

    def _seen(self, who: Who) -> Iterable[Connection]:
        return (c for c in self.plant.connections.values() if c.account in who.under)

    def _at(self, switch: str) -> Iterable[Connection]:
        return (c for c in self.plant.connections.values() if c.switch == switch)

    def _manager(self, account: str) -> str:
        return self.plant.accounts[account].manager or account

    def _place(self, c: Connection) -> dict[str, str]:
        return {
            "pop": pop_id(c.facility),
            "facility": facility_id(c.facility),
            "device": device_id(c.switch),
            "metro_area_network": self.network_id,
            "metro_area": self.metro_area_id,
        }

    def _facilities(self) -> list[str]:
        of_switches = [switch.facility for switch in self.plant.switches.values()]
        return list(dict.fromkeys([*of_switches, *(c.facility for c in self.plant.connections.values())]))

    def _facility(self, f: FacilitySetting) -> Document:
        s = self.settings
        return {
            "id": facility_id(f.name),
            "name": f.name[:80],
            "metro_area": self.metro_area_id,
            "address_country": (f.country or s.country)[:2],
            "address_locality": (f.locality or s.metro_area or s.name)[:80],
            "address_region": f.region[:80],
            "postal_code": (f.postal_code or _UNKNOWN)[:18],
            "street_address": (f.street_address or _UNKNOWN)[:80],
            "organisation_name": (f.organisation or f.name)[:80],
            "peeringdb_facility_id": f.peeringdb,
            "pops": [pop_id(f.name)],
        }

    def _account(self, a: AccountSetting) -> Document:
        address = {
            "country": a.country[:2],
            "locality": (a.locality or _UNKNOWN)[:40],
            "postal_code": (a.postal_code or _UNKNOWN)[:24],
            "street_address": (a.street_address or _UNKNOWN)[:80],
            "region": None,
            "post_office_box_number": None,
        }
        name = (a.name or a.id)[:80]
        return {
            "id": a.id,
            "state": State.PRODUCTION.value,
            "status": [],
            "managing_account": self.settings.manager_of(a),
            "name": name,
            "legal_name": name,
            "billing_information": {"name": name, "address": address, "vat_number": None},
            "external_ref": None,
            "discoverable": False,
            "metro_area_network_presence": [self.network_id],
            "address": address,
        }


def role_assignment(contact: str, role: str) -> str:
    """The id of one."""
    return f"{contact}-{role}"


def facility_id(name: str) -> str:
    """Of a facility."""
    return f"facility-{_slug(name)}"


def pop_id(name: str) -> str:
    """Of the point of presence in a facility."""
    return f"pop-{_slug(name)}"


def device_id(switch: str) -> str:
    """Of a switch."""
    return f"device-{_slug(switch)}"


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name.lower())[:64]
