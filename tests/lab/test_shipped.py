"""The labs in the package: each can be read, says what it shows, and keeps to the conventions of all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from meetme.lab.checks import Action
from meetme.lab.source import read_lab, shipped_labs
from meetme.lab.verify import read_checks

LABS = shipped_labs()
COMMON = (LABS["thesis"] / "shared.startup").read_bytes()


@pytest.mark.parametrize("name", LABS)
def test_a_lab_is_called_as_its_folder_and_says_what_it_shows(name: str) -> None:
    source = read_lab(LABS[name])
    assert source.plan.name == name
    assert source.plan.description
    assert source.plan.notes == (), "nothing in it is ignored"


@pytest.mark.parametrize("name", LABS)
def test_its_checks_can_be_read_and_begin_and_end_with_what_is_there_without_an_agreement(name: str) -> None:
    folder = LABS[name]
    machines = tuple(machine.name for machine in read_lab(folder).plan.machines)
    steps = read_checks(folder / "checks.toml", machines)
    named = [step for step in steps if step.name]
    assert named
    runs = [step.run for step in steps if isinstance(step, Action)]
    assert any("remember" in run for run in runs)
    assert any("as_before" in run for run in runs)


@pytest.mark.parametrize("name", LABS)
def test_what_members_do_at_their_start_is_told_once(name: str) -> None:
    assert (LABS[name] / "shared.startup").read_bytes() == COMMON
    assert not (LABS[name] / "shared").exists(), "machines write there: it would be written into the package"
    startups = [path.read_text() for path in LABS[name].glob("*.startup") if path.name != "shared.startup"]
    assert not any("meetme serve" in text or "meetme peer add" in text for text in startups)


def test_the_common_startup_is_one_file_here() -> None:
    others = [Path(folder, "shared.startup") for name, folder in LABS.items() if name != "thesis"]
    assert [path for path in others if not path.is_symlink()] == []


def test_what_the_how_to_says_to_routers_is_what_the_lab_proves() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "redistribute-aliases.md"
    told = [part.split("```")[0] for part in page.read_text().split("```frr\n")[1:]]
    lab = LABS["beyond-the-router"]
    files = [path.read_text() for path in lab.glob("*/etc/frr/frr.conf")]
    assert len(told) == len(files) == 3
    assert [part for part in told if not any(part in file for file in files)] == []
    commands = [
        line.partition("#")[0].strip() for line in page.read_text().splitlines() if line.startswith(("ip a", "ip r"))
    ]
    startups = "".join(path.read_text() for path in lab.glob("*.startup"))
    assert len(commands) == 2
    assert all(command in startups for command in commands)


@pytest.mark.parametrize("lab", ["internet", "private-control-plane"])
def test_the_filters_that_a_how_to_shows_are_those_of_a_lab(lab: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "expose-a-negotiator.md"
    told = [part.split("```")[0] for part in page.read_text().split("```nft\n")[1:]]
    startups = "".join(path.read_text() for path in LABS[lab].glob("router*.startup"))
    assert len(told) == 2
    assert any(part in startups for part in told)
