"""The IX-API server on both engines, with a real configurator, killed and started again, and read by pyixapi."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pyixapi
import pytest

from meetme.configurator.client import open_configurator
from meetme.configurator.service import ConfiguratorService
from meetme.drivers.memory import MemoryDevice, MemoryDriver
from meetme.model.errors import DeviceFailed
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.contract.processes import START_SECONDS, free_port
from tests.ixapi.market import Customer, FakeSwitch, open_market, settings

SETTINGS = """
[ixapi]
name = "ix1"
listen = "127.0.0.1:{port}"
database = "{database}"
switch = [{{ name = "s1", configurator = "{configurator}" }}]
account = [
  {{ id = "fed", api_key = "fed-key", api_secret = "secret", managing = true }},
  {{ id = "csp-a" }}, {{ id = "csp-b" }},
]
connection = [
  {{ id = "a1", account = "csp-a", switch = "s1", port = "eth1", speed = 10000 }},
  {{ id = "b1", account = "csp-b", switch = "s1", port = "eth2", speed = 10000 }},
  {{ id = "n1", account = "fed", switch = "s1", port = "eth0", speed = 600, kind = "nni" }},
]
"""


@dataclass
class Process:
    """`meetme serve ixapi`, which can be killed and started again."""

    folder: Path
    database: str
    configurator: str
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        settings = self.folder / f"ixapi-{self.port}.toml"
        values = {"port": self.port, "database": self.database, "configurator": self.configurator}
        settings.write_text(SETTINGS.format(**values))
        meetme = Path(sys.executable).with_name("meetme")
        with (self.folder / f"log-{self.port}").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                meetme, "serve", "ixapi", "--config", settings, stderr=log,
                env={**os.environ, "MEETME_DIR": str(self.folder)},
            )  # fmt: skip
        async with asyncio.timeout(START_SECONDS):
            while True:
                assert self.process.returncode is None, (self.folder / f"log-{self.port}").read_text()
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """`kill -9`."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    @asynccontextmanager
    async def customer(self) -> AsyncIterator[Customer]:
        base = f"http://127.0.0.1:{self.port}/api/v2/"
        async with httpx2.AsyncClient(base_url=base, timeout=30, verify=False) as http:
            answer = await http.post("auth/token", json={"api_key": "fed-key", "api_secret": "secret"})
            http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
            yield Customer(http, "fed")


@asynccontextmanager
async def a_switch(folder: Path) -> AsyncIterator[tuple[MemoryDevice, str]]:
    """A configurator over the memory driver, and where it listens."""
    device, database = MemoryDevice(), Database.open("sqlite://")
    target = f"unix:{folder / 's1.sock'}"
    service = ConfiguratorService(MemoryDriver(device), database, SystemClock())
    await service.start(target)
    try:
        yield device, target
    finally:
        await service.stop()
        await database.close()


async def test_the_whole_way_with_a_configurator(tmp_path: Path, database_url: str) -> None:
    async with a_switch(tmp_path) as (device, target):
        control = await open_configurator(target)
        database = Database.open(database_url)

        async def connect() -> Any:
            return control

        ports = {"a1": "eth1", "b1": "eth2"}
        connections = tuple(replace(c, port=ports[c.id]) for c in settings().connection if c.id in ports)
        async with open_market(database, openers={"s1": connect}, connection=connections, trunk=()) as market:
            one = await market.fed.order("a1", "b1", "one", capacity=10)
            two = await market.fed.order("a1", "b1", "two", capacity=10)
            await market.fed.in_production(one)
            await market.fed.in_production(two)
            assert set(device.circuits) == {"one", "two"}
            path = f"network-services/{one['id']}"
            change = {"product_offering": "p2p", "capacity": 20}
            assert (await market.fed.send("POST", f"{path}/change-request", change)).status_code == 202
            await market.fed.in_production(one)
            for service in (one, two):
                await market.fed.send("DELETE", f"network-services/{service['id']}")
                await market.fed.until(f"network-services/{service['id']}", "decommissioned")
            assert device.circuits == {}
        await control.close()
        await database.close()


@pytest.mark.parametrize("orders", range(1, 5))
async def test_stopped_after_every_order_to_a_switch(database_url: str, orders: int) -> None:
    """Ordered at one process, brought to an end by the next, and the same when it is taken back."""
    switches = {"s1": FakeSwitch(), "s2": FakeSwitch()}
    database = Database.open(database_url)
    async with open_market(database, switches=switches) as market:
        stop_after(switches, orders)
        service = await market.fed.order("a1", "b2", "c", capacity=10)
        await stopped(switches, orders)
        await market.service.kill()
    let_go(switches)
    path = f"network-services/{service['id']}"
    async with open_market(database, switches=switches) as market:
        await market.fed.in_production(service)
        assert [set(switch.in_force) for switch in switches.values()] == [{"c"}, {"c"}]
        for switch in switches.values():
            switch.orders.clear()
        stop_after(switches, 1 + orders % 2)
        await market.fed.send("DELETE", path)
        await stopped(switches, 1 + orders % 2)
        await market.service.kill()
    let_go(switches)
    async with open_market(database, switches=switches) as market:
        await market.fed.until(path, "decommissioned")
        assert [switch.applied for switch in switches.values()] == [{}, {}]
        assert (await market.fed.get("connections/a1"))["capacity_allocated"] == 0
    await database.close()


def stop_after(switches: dict[str, FakeSwitch], orders: int) -> None:
    """From the order on that is after so many, none is carried out."""
    for switch in switches.values():
        switch.stops_after = (switches, orders)


def let_go(switches: dict[str, FakeSwitch]) -> None:
    for switch in switches.values():
        switch.stops_after = None


async def stopped(switches: dict[str, FakeSwitch], orders: int) -> None:
    async with asyncio.timeout(10):
        while True:
            if sum(len(switch.orders) for switch in switches.values()) >= orders:
                return
            await asyncio.sleep(0.005)


async def test_a_hundred_at_two_replicas_for_what_sixty_can_have(new_postgresql: Any) -> None:
    url = new_postgresql("ixapi_sixty")
    first, second = Database.open(url), Database.open(url)
    switches = {"s1": FakeSwitch(), "s2": FakeSwitch()}
    async with open_market(first, switches=switches) as one, open_market(second, switches=switches) as two:
        services = [await one.fed.order_service(consuming_account="fed") for _ in range(100)]

        async def order(number: int, service: Any) -> int:
            body = {
                "type": "p2p_vc", "managing_account": "fed", "consuming_account": "fed", "billing_account": "fed",
                "network_service": service["id"], "connection": "n3", "capacity": 10,
                "vlan_config": {"vlan_type": "dot1q", "vlan": None},
            }  # fmt: skip
            customer = (one if number % 2 else two).fed
            return (await customer.send("POST", "network-service-configs", body)).status_code

        answers = await asyncio.gather(*(order(number, each) for number, each in enumerate(services)))
        assert sorted(answers) == [201] * 60 + [400] * 40
        configs = await one.fed.get("network-service-configs", connection="n3")
        assert len({config["vlan_config"]["vlan"] for config in configs}) == 60
        assert (await two.fed.get("connections/n3"))["capacity_allocated"] == 600
        # What one takes, the other sees; tokens of one are good at the other.
        bearer = {"authorization": one.fed.http.headers["authorization"]}
        assert (await two.anonymous.get("account", headers=bearer)).status_code == 200
    await first.close()
    await second.close()


@pytest.mark.slow
async def test_killed_while_orders_come_in(tmp_path: Path) -> None:
    async with a_switch(tmp_path) as (device, target):
        process = Process(tmp_path, f"sqlite:///{tmp_path / 'ixapi.db'}", target)
        await process.start()
        try:
            found = await asyncio.gather(killed_now_and_then(process), ordered(process, 12))
            services = found[1]
            async with process.customer() as customer:
                for service in services:
                    await customer.in_production(service)
                shown = await customer.get("network-services")
                assert len(shown) == len(services), "nothing was lost, nothing is there twice"
                assert set(device.circuits) == {service["external_ref"] for service in services}
                labels = [
                    c["vlan_config"]["vlan"] for c in await customer.get("network-service-configs", connection="a1")
                ]
                assert len(set(labels)) == len(services)
                for service in services:
                    await customer.send("DELETE", f"network-services/{service['id']}")
            await process.kill()
            await process.start()
            async with process.customer() as customer:
                for service in services:
                    await customer.until(f"network-services/{service['id']}", "decommissioned")
            assert device.circuits == {}
        finally:
            await process.kill()


async def killed_now_and_then(process: Process) -> None:
    for _ in range(2):
        await asyncio.sleep(0.25)
        await process.kill()
        await process.start()


async def ordered(process: Process, number: int) -> list[Any]:
    """Order so many, as somebody does who looks for the reference before ordering again."""
    found: list[Any] = []
    for index in range(number):
        reference = f"c{index}"
        async with asyncio.timeout(60):
            while True:
                try:
                    async with process.customer() as customer:
                        there = await customer.get("network-services", external_ref=reference)
                        service = there[0] if there else await customer.order_service(reference)
                        configs = await customer.get("network-service-configs", network_service=service["id"])
                        for connection in {"a1", "b1"} - {config["connection"] for config in configs}:
                            await customer.order_config(service, connection, capacity=10)
                    break
                except (httpx2.TransportError, KeyError):
                    await asyncio.sleep(0.1)
        found.append(service)
    return found


async def test_pyixapi_reads_it(tmp_path: Path) -> None:
    """A client by others: https://pypi.org/project/pyixapi/."""
    database = Database.open("sqlite://")
    broken = {"s1": FakeSwitch(), "s2": FakeSwitch(error=DeviceFailed("bridge_failed", "bridge: cannot be made"))}
    async with open_market(database, switches=broken) as market:
        fine = await market.fed.order("a1", "b1", "fine", capacity=10)
        bad = await market.fed.order("a1", "b2", "bad", capacity=10)
        await market.fed.in_production(fine)
        await market.fed.until(f"network-services/{bad['id']}", "error")
        await asyncio.to_thread(_read_with_pyixapi, f"{market.service.url}/api/v2", fine["id"])
    await database.close()


def _read_with_pyixapi(url: str, id: str) -> None:
    api = pyixapi.api(url, "fed-key".ljust(16, "x"), "s" * 86)
    api.authenticate()
    assert api.version == 2
    assert api.health()["status"] == "warn"
    assert "network_services_list" in api.implementation()["supported_operations"]
    assert api.account().id == "fed"
    assert {each.id for each in api.accounts.all()} == {"fed", "csp-a", "csp-b"}
    assert {each.name for each in api.devices.all()} == {"s1", "s2"}
    assert len(list(api.connections.filter(facility="facility-hall-1"))) == 4
    for endpoint in (api.facilities, api.pops, api.metro_areas, api.metro_area_networks, api.ports, api.roles):
        first = next(iter(endpoint.all()))
        assert endpoint.get(first.id).id == first.id
    service = api.network_services.get(id)
    assert (service.state, service.external_ref) == ("production", "fine")
    assert {"decommission_at", "charged_until"} == set(service.cancellation_policy())
    assert {each.state for each in api.network_services.all()} == {"production", "error"}
    assert api.network_services.get("nothing") is None
    (offering, _slow) = api.product_offerings.all()
    made = api.network_services.create(
        type="p2p_vc",
        managing_account="fed",
        consuming_account="csp-a",
        billing_account="fed",
        joining_member_account="csp-b",
        product_offering=offering.id,
    )
    assert made.state == "requested"
    api.refresh_authentication()
    assert api.network_services.get(made.id).delete()
