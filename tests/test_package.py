"""What is installed is whole: the wheel has all that `meetme` needs, and works where there is no source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from meetme import __version__

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    """What a command prints, in an environment that knows nothing of this repository. Fails with all it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL", "MEETME"))}
    done = subprocess.run(command, cwd=cwd, env={**kept, **more}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a new, empty virtual environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def wheel(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(environment / "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(environment: Path, wheel: Path) -> Path:
    """The same folder, with `meetme` and what `requirements/runtime.lock` names, and nothing else."""
    pip = environment / "pip"
    lock = ROOT / "requirements" / "runtime.lock"
    run(pip, "install", "--quiet", "--require-hashes", "--requirement", lock, cwd=wheel.parent)
    run(pip, "install", "--quiet", "--no-deps", wheel, cwd=wheel.parent)
    return environment


def test_the_wheel_is_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "meetme").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == wanted
    for needed in (
        "meetme/py.typed",
        "meetme/configurator/v1/configurator.proto",
        "meetme/configurator/v1/configurator_pb2.pyi",
        "meetme/labs/thesis/lab.conf",
        "meetme/labs/thesis/checks.toml",
        "meetme/labs/federation/router3/etc/meetme/offers.toml",
        "meetme/labs/federation/vm3/var/www/index.html",
        "meetme/negotiator/migrations/0001_negotiation.py",
        "meetme/configurator/migrations/0001_link.py",
        "meetme/runtime/migrations/0001_effect.py",
    ):
        assert needed in packed


def test_requirements_of_the_package_are_met_by_the_lock(installed: Path) -> None:
    assert "No broken requirements" in run(installed / "pip", "check", cwd=installed)


def test_installed_program_tells_its_version_and_drivers(installed: Path, tmp_path: Path) -> None:
    assert __version__ in run(installed / "meetme", "--version", cwd=tmp_path)
    assert "negotiate" in run(installed / "meetme", "--help", cwd=tmp_path)
    drivers = "from meetme.drivers.registry import driver_names; print(*driver_names())"
    assert run(installed / "python", "-c", drivers, cwd=tmp_path).split() == ["fabric", "linux", "memory"]


@pytest.mark.live
@pytest.mark.parametrize("scenario", ["federation", "thesis"])
def test_installed_demo_works_from_any_folder(installed: Path, tmp_path: Path, scenario: str) -> None:
    path = f"{installed}:{os.environ['PATH']}"
    command = (installed / "meetme", "demo", "--scenario", scenario, "--format", "json")
    said = run(*command, cwd=tmp_path, PATH=path, HOME=str(tmp_path))
    assert '"verified": "path"' in said
    assert '"left_behind": []' in said
    assert not list(tmp_path.iterdir())


def test_this_environment_runs_the_source_tree() -> None:
    """Else the tests would prove some older installed copy."""
    shown = run(sys.executable, "-c", "import meetme; print(meetme.__file__)", cwd=ROOT / "docs")
    assert Path(shown.strip()).is_relative_to(SOURCE)
