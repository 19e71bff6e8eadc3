"""What is wrong with the settings of an exchange is said before it starts, all of it, with the table at fault."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from meetme.ixapi.objects import VlanType
from meetme.ixapi.plant import Kind
from meetme.ixapi.settings import AccountSetting, IxApiSettings, TrunkSetting, secret_of
from meetme.model.errors import InvalidInput
from meetme.runtime.settings import SettingsFile, resolve
from tests.ixapi.market import settings

FIRST = settings().connection[0]
NNI = settings().connection[4]
TRUNK = settings().trunk[0]

FILE = """
[ixapi]
name = "IX"
[[ixapi.switch]]
name = "s1"
configurator = "127.0.0.1:8475"
underlay = "10.9.0.1"
[[ixapi.account]]
id = "composer"
api_key = "key"
api_secret_file = "secret"
managing = true
[[ixapi.account]]
id = "csp-a"
[[ixapi.connection]]
id = "a1"
account = "csp-a"
switch = "s1"
port = "swp1"
speed = 10000
[[ixapi.connection]]
id = "n1"
account = "composer"
switch = "s1"
kind = "nni"
speed = 100000
remote = "10.8.0.1"
vni_base = 7
"""


def test_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "meetme.toml").write_text(FILE)
    (tmp_path / "secret").write_text("hush\n")
    file = SettingsFile.read(tmp_path / "meetme.toml", services=["ixapi"])
    found = resolve(IxApiSettings, "ixapi", file=file, environ={"MEETME_IXAPI_MTU": "9000"}, flags={})
    found.check()
    plant = found.plant()
    assert plant.mtu == 9000
    assert plant.connections["n1"].vlan_types == (VlanType.DOT1Q,)
    assert plant.connections["a1"].limit == 10000
    assert plant.accounts["csp-a"].manager == "composer"
    assert plant.under("composer") == {"composer", "csp-a"}
    assert plant.under("csp-a") == {"csp-a"}
    assert secret_of(found.account[0]) == "hush"


def test_who_manages_whom() -> None:
    accounts = (
        AccountSetting("fed", managing=True),
        AccountSetting("reseller"),
        AccountSetting("customer", managing_account="reseller"),
        AccountSetting("alone", managing_account=""),
    )
    plant = settings(account=accounts, connection=(), contact=()).plant()
    assert plant.under("fed") == {"fed", "reseller", "customer"}
    assert plant.under("reseller") == {"reseller", "customer"}
    assert plant.under("alone") == {"alone"}


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"switch": ()}, "switch", "switch: must name at least one switch"),
        ({"connection": (FIRST, FIRST)}, "connection.id", "connection.id: must be given once ('a1')"),
        ({"connection": (replace(FIRST, switch="s9"),)}, "connection.switch", "must be one of the switches ('s9')"),
        ({"connection": (replace(FIRST, account="x"),)}, "connection.account", "must be one of the accounts ('x')"),
        ({"connection": (replace(FIRST, speed=0),)}, "connection.speed", "must be at least 1 Mbit/s (0)"),
        ({"connection": (replace(FIRST, port=""),)}, "connection.port", "must be given ('a1')"),
        ({"connection": (replace(NNI, vni_base=None),)}, "connection.vni_base", "must be given together with remote"),
        ({"connection": (replace(NNI, kind=Kind.ACCESS),)}, "connection.remote", "must be of an NNI"),
        ({"connection": (replace(NNI, vlan_types=(VlanType.PORT,)),)}, "connection.vlan_types", "must be dot1q"),
        ({"connection": (replace(NNI, vni_base=4096),)}, "vni_base", "must be 0 to 4095 (4096)"),
        ({"connection": (replace(NNI, vni_base=11),)}, "trunk.vni_base", "must be given once ('11')"),
        ({"trunk": (replace(TRUNK, switches=("s1", "s1")),)}, "trunk.switches", "must be two switches ('s1, s1')"),
        ({"trunk": (replace(TRUNK, switches=("s1", "s9")),)}, "trunk.switches", "must be two switches ('s1, s9')"),
        ({"trunk": (replace(TRUNK, underlays=(ip_address("10.0.0.1"),)),)}, "trunk.underlays", "must be two addresses"),
        ({"trunk": (TrunkSetting(("s1", "s2"), 1, 0),)}, "trunk.speed", "must be at least 1 Mbit/s"),
        ({"mtu": 20}, "mtu", "must be 68 to 9216 octets (20)"),
        (
            {"account": (AccountSetting("a", managing_account="b"), AccountSetting("b", managing_account="a"))},
            "account.managing_account",
            "must not lead back to itself ('a')",
        ),
        (
            {"account": (AccountSetting("a", managing_account="z"),)},
            "account.managing_account",
            "must be one of the accounts ('z')",
        ),
        ({"account": (AccountSetting("a", api_key="k"),)}, "account.api_secret", "must be given with an api_key ('a')"),
        (
            {"account": (AccountSetting("a", managing=True), AccountSetting("b", managing=True))},
            "account.managing",
            "must be true of one account at most",
        ),
    ],
)
def test_what_cannot_work_is_said(changes: dict[str, Any], field: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings(**changes).check()
    assert (field, True) in [(each.field, text in each.text) for each in caught.value.problems]


def test_a_secret_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        secret_of(AccountSetting("a", api_key="k", api_secret_file=tmp_path / "none"))
    assert caught.value.code == "secret_unreadable"
