"""The systemd units: well-formed, tight, and the configurator's circuits outlive its service."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .units import FOLDER, PROGRAM, capabilities, settings

ANALYZE = shutil.which("systemd-analyze")
WITHOUT_PRIVILEGES = tuple(f"meetme-{name}.service" for name in ("negotiator", "composer", "ixapi", "catalog"))
UNITS = (*WITHOUT_PRIVILEGES, "meetme-configurator.service")
MOST_EXPOSED = {**dict.fromkeys(WITHOUT_PRIVILEGES, 15), "meetme-configurator.service": 42}
"""Tenths, as `systemd-analyze security` counts: 0 is nothing at all, 100 everything."""
NEW_MOUNT_NAMESPACE = {
    "DynamicUser", "PrivateMounts", "PrivateTmp", "PrivateDevices", "PrivateIPC", "IPCNamespacePath", "ProtectSystem",
    "ProtectHome", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups",
    "ProtectProc", "ProcSubset", "ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths",
    "TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths", "RootDirectory", "RootImage", "MountImages", "MountFlags",
    "LoadCredential", "LoadCredentialEncrypted", "SetCredential", "PrivateNetwork", "LogNamespace",
}  # fmt: skip
"""What gives a service mounts of its own (systemd.exec(5)): names of namespaces made in there vanish with it."""

needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """The units with a program that is there."""
    with tempfile.TemporaryDirectory() as name:
        for unit in UNITS:
            text = (FOLDER / unit).read_text()
            assert PROGRAM in text
            Path(name, unit).write_text(text.replace(PROGRAM, "/bin/true"))
        yield Path(name)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, timeout=60, check=False)


@needs_analyze
@pytest.mark.parametrize("unit", UNITS)
def test_it_is_well_formed(unit: str, installed: Path) -> None:
    done = analyze("verify", "--man=no", "--recursive-errors=no", str(installed / unit))
    assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
@pytest.mark.parametrize("unit", UNITS)
def test_it_is_no_more_exposed_than_it_has_to_be(unit: str, installed: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED[unit]}", str(installed / unit))
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    tighter = analyze("security", "--offline=true", "--threshold=5", str(installed / unit))
    assert tighter.returncode != 0, "the threshold is looked at"


@pytest.mark.parametrize("name", WITHOUT_PRIVILEGES)
def test_all_but_the_configurator_have_no_privilege(name: str) -> None:
    unit = settings(name)
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [""]
    assert unit["DynamicUser"] == ["yes"]
    assert "AF_NETLINK" not in unit["RestrictAddressFamilies"][0]


def test_the_configurator_has_four_capabilities() -> None:
    unit = settings("meetme-configurator.service")
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"]
    assert capabilities("meetme-configurator.service") == ["net_admin", "sys_admin", "net_raw", "net_broadcast"]
    assert unit["User"] == ["meetme-configurator"]


def test_nothing_gives_the_configurator_mounts_of_its_own() -> None:
    assert not NEW_MOUNT_NAMESPACE & settings("meetme-configurator.service").keys()


@pytest.mark.parametrize("unit", UNITS)
def test_the_manager_is_told(unit: str) -> None:
    found = settings(unit)
    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) > 0
