"""Settings: default, file, environment, flag; every mistake names its place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path

import pytest

from meetme.model.addresses import Prefix, parse_prefix
from meetme.model.errors import InvalidInput, NotFound
from meetme.runtime.settings import SettingsFile, resolve, setting


class Mode(StrEnum):
    FAST = "fast"
    SAFE = "safe"


@dataclass(frozen=True, kw_only=True)
class Settings:
    border_router_port: str
    local_subnet: tuple[Prefix, ...] = setting(parse_prefix, default=())
    names: tuple[str, ...] = ("a",)
    database: Path | None = None
    count: int = 1
    seconds: float = 0.5
    strict: bool = False
    mode: Mode = Mode.SAFE


def read(text: str = "", tmp_path: Path | None = None, environ: dict | None = None, **flags) -> Settings:
    file = SettingsFile()
    if text:
        path = tmp_path / "member.toml"
        path.write_text(text)
        file = SettingsFile.read(path, services=["member", "negotiator"])
    flags.setdefault("border_router_port", "eth1")
    return resolve(Settings, "negotiator", file=file, environ=environ or {}, flags=flags)


def test_each_source_wins_over_the_one_before(tmp_path: Path) -> None:
    text = '[negotiator]\nnames = ["file"]\ncount = 2\n'
    assert read().names == ("a",)
    assert read(text, tmp_path).names == ("file",)
    environ = {"MEETME_NEGOTIATOR_NAMES": "env"}
    assert read(text, tmp_path, environ).names == ("env",)
    assert read(text, tmp_path, environ, names=("flag",)).names == ("flag",)
    assert read(text, tmp_path, environ, names=(), count=None) == read(text, tmp_path, environ)
    assert read(text, tmp_path, environ).count == 2


@pytest.mark.parametrize(
    "written", ['["10.0.0.0/24", "fd00::/64"]', '"10.0.0.0/24, fd00::/64"', '["10.0.0.0/24,fd00::/64"]']
)
def test_a_list_may_be_written_in_three_ways(tmp_path: Path, written: str) -> None:
    expected = (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))
    assert read(f"[negotiator]\nlocal_subnet = {written}", tmp_path).local_subnet == expected
    assert read(environ={"MEETME_NEGOTIATOR_LOCAL_SUBNET": "10.0.0.0/24,fd00::/64"}).local_subnet == expected
    assert read(local_subnet=("10.0.0.0/24", "fd00::/64")).local_subnet == expected


def test_every_type_is_read_from_text_and_from_toml(tmp_path: Path) -> None:
    expected = (3, 2.0, True, Mode.FAST)
    environ = {
        f"MEETME_NEGOTIATOR_{k}": v for k, v in (("COUNT", "3"), ("SECONDS", "2"), ("STRICT", "yes"), ("MODE", "fast"))
    }
    toml = '[negotiator]\ncount = 3\nseconds = 2\nstrict = true\nmode = "fast"'
    for settings in (read(environ=environ), read(toml, tmp_path), read(count=3, seconds=2.0, strict=True, mode="fast")):
        assert (settings.count, settings.seconds, settings.strict, settings.mode) == expected


def test_a_path_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    assert read('[negotiator]\ndatabase = "x.db"', tmp_path).database == tmp_path / "x.db"
    assert read('[negotiator]\ndatabase = "/x.db"', tmp_path).database == Path("/x.db")
    assert read(database="x.db").database == Path("x.db")


def test_a_typo_in_the_file_is_refused_with_file_key_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"member\.toml: negotiator\.local_subnets: must not be there") as caught:
        read("[negotiator]\nlocal_subnets = []", tmp_path)
    assert (caught.value.code, caught.value.hint) == ("setting_unknown", "did you mean local_subnet?")
    with pytest.raises(InvalidInput, match=r"member\.toml: \[negotiater\]") as table:
        read("[negotiater]", tmp_path)
    assert table.value.hint == "did you mean negotiator?"
    with pytest.raises(InvalidInput) as far:
        read("[negotiator]\nzzzz = 1", tmp_path)
    assert far.value.hint.startswith("known are border_router_port, count")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("count = true", "negotiator.count: must be a number (True)"),
        ('count = "x"', "negotiator.count: must be a whole number ('x')"),
        ("strict = 1", "negotiator.strict: must be true or false (1)"),
        ('mode = "slow"', "negotiator.mode: must be fast or safe ('slow')"),
        ("names = [1]", "negotiator.names: must be a text (1)"),
        ("local_subnet = [1]", "negotiator.local_subnet: must be a text (1)"),
        ('local_subnet = "10.0.0.1/24"', "negotiator.local_subnet: local_subnet: must be a prefix"),
        ("database = 1", "negotiator.database: must be a text (1)"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(f"[negotiator]\n{text}", tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/member.toml: {problem}")
    assert caught.value.field == text.partition(" ")[0]


def test_the_place_of_a_wrong_value_may_be_a_flag_or_a_variable() -> None:
    with pytest.raises(InvalidInput, match=r"^MEETME_NEGOTIATOR_COUNT: must be a whole number"):
        read(environ={"MEETME_NEGOTIATOR_COUNT": "many"})
    with pytest.raises(InvalidInput, match=r"^--local-subnet: local_subnet: must be a prefix") as caught:
        read(local_subnet=("10.0.0.1/24",))
    assert (caught.value.code, caught.value.hint) == ("prefix_host_bits", "did you mean 10.0.0.0/24?")


def test_a_setting_that_must_be_given_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^--border-router-port: must be given") as caught:
        read(border_router_port=None)
    assert caught.value.code == "setting_missing"
    assert "MEETME_NEGOTIATOR_BORDER_ROUTER_PORT" in caught.value.hint


def test_everything_that_must_be_given_is_named_at_once() -> None:
    @dataclass(frozen=True)
    class Mandatory:
        one: str
        two: tuple[str, ...]
        three: str = "default"

    with pytest.raises(InvalidInput, match=r"^--one: must be given") as caught:
        resolve(Mandatory, "negotiator", file=SettingsFile(), environ={}, flags={})
    assert [(p.code, p.field) for p in caught.value.problems] == [
        ("setting_missing", "one"),
        ("setting_missing", "two"),
    ]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        SettingsFile.read(tmp_path / "no.toml", services=[])
    for text in ("[negotiator", "negotiator = 1"):
        with pytest.raises(InvalidInput) as caught:
            read(text, tmp_path)
        assert caught.value.code == "settings_malformed"


def test_other_variables_are_none_of_our_business() -> None:
    assert read(environ={"MEETME_NEGOTIATOR_SERVICE_HOST": "10.0.0.1", "MEETME_URL": "x"}) == read()


@dataclass(frozen=True)
class Door:
    name: str
    width: int = 1


@dataclass(frozen=True)
class House:
    door: tuple[Door, ...] = ()


def house(text: str, folder: Path) -> House:
    file = folder / "house.toml"
    file.write_text(text)
    tables = SettingsFile.read(file, services=["house"])
    return resolve(House, "house", file=tables, environ={}, flags={})


def test_a_list_of_tables_is_a_list_of_values(tmp_path: Path) -> None:
    text = '[[house.door]]\nname = "front"\n[[house.door]]\nname = "back"\nwidth = 2\n'
    assert house(text, tmp_path) == House((Door("front"), Door("back", 2)))


@pytest.mark.parametrize(
    ("text", "code", "problem"),
    [
        ('[[house.door]]\nname = "a"\n[[house.door]]\nwidth = 2', "setting_missing", "door[1].name: must be given"),
        ('[[house.door]]\nnames = "a"', "setting_unknown", "door[0].names: must not be there"),
        ("[[house.door]]\nname = 1", "setting_invalid", "door[0].name: must be a text (1)"),
        ('[[house.door]]\nname = "a"\nwidth = "wide"', "setting_invalid", "door[0].width: must be a whole number"),
        ('[house]\ndoor = "front"', "setting_invalid", "door: must be a list of tables"),
    ],
)
def test_what_is_wrong_in_a_list_of_tables_is_said_with_its_place(
    tmp_path: Path, text: str, code: str, problem: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        house(text, tmp_path)
    assert caught.value.code == code
    assert str(caught.value).startswith(f"{tmp_path}/house.toml: house.{problem}")
