"""The roster: read, written, read again when it changes; every mistake names file, member and key."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from meetme.model.errors import InvalidInput, NotFound
from meetme.model.members import Member, MemberKind, MemberPolicy, Roster, ServiceUrls
from meetme.runtime.identity import create_identity
from meetme.runtime.roster import RosterFile, certificates_file, read_roster, write_roster

A, B, B2 = create_identity("isp-a"), create_identity("isp-b"), create_identity("isp-b")
MEMBER_A = Member(id="isp-a", kind=MemberKind.CSP, pins=(A.pin,), certificates=(A.certificate,))
MEMBER_B = Member(
    id="isp-b",
    kind=MemberKind.IXP,
    country="DE",
    pins=(B.pin, B2.pin),
    certificates=(B.certificate, B2.certificate),
    urls=ServiceUrls(negotiator="https://b.example:8471", catalog='https://b.example:8472/"x\\'),
    policy=MemberPolicy(announce=(ip_network("10.0.0.0/8"),), order_required=True, max_agreements=3),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "roster.toml"


def test_what_is_written_is_read_again(path: Path) -> None:
    roster = Roster((MEMBER_A, MEMBER_B))
    write_roster(path, roster)
    assert read_roster(path) == roster
    assert certificates_file(path, "isp-b").read_bytes() == B.certificate + B2.certificate


def test_no_file_is_an_empty_roster(path: Path) -> None:
    assert read_roster(path) == Roster()


def test_members_are_found_by_id_and_by_either_pin() -> None:
    roster = Roster((MEMBER_A, MEMBER_B))
    assert roster.member("isp-b") is MEMBER_B
    assert roster.of_pin(B.pin) is MEMBER_B
    assert roster.of_pin(B2.pin) is MEMBER_B
    assert roster.of_pin("sha256:" + "0" * 64) is None
    with pytest.raises(NotFound, match="'nobody'") as caught:
        roster.member("nobody")
    assert caught.value.code == "peer_unknown"


def test_a_member_that_is_removed_leaves_nothing_on_disk(path: Path) -> None:
    write_roster(path, Roster((MEMBER_A, MEMBER_B)))
    write_roster(path, Roster((MEMBER_A, MEMBER_B)).without("isp-b"))
    assert read_roster(path) == Roster((MEMBER_A,))
    assert {file.name for file in path.parent.rglob("*")} == {"roster.toml", "peers", "isp-a.pem"}
    with pytest.raises(NotFound):
        Roster((MEMBER_A,)).without("isp-b")


def test_a_running_service_sees_what_changes(path: Path) -> None:
    write_roster(path, Roster((MEMBER_A,)))
    file = RosterFile(path)
    before = file()
    assert file() is before
    write_roster(path, before.with_member(MEMBER_B))
    assert file().find("isp-b") == MEMBER_B
    write_roster(path, file().without("isp-a"))
    assert file() == Roster((MEMBER_B,))


def test_a_file_that_breaks_later_changes_nothing(path: Path) -> None:
    write_roster(path, Roster((MEMBER_A,)))
    file = RosterFile(path)
    path.write_text("[[member]\n")
    assert file() == Roster((MEMBER_A,))
    write_roster(path, Roster((MEMBER_B,)))
    assert file() == Roster((MEMBER_B,))


def test_a_write_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_roster(path, Roster((MEMBER_A,)))

    def fails(_descriptor: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="disk full"):
            write_roster(path, Roster((MEMBER_B,)))
    assert read_roster(path) == Roster((MEMBER_A,))
    assert not list(path.parent.rglob(".*"))


GOOD = f'[[member]]\nid = "isp-a"\nkind = "csp"\npins = ["{A.pin}"]\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[member]\n", "roster.toml: must be TOML (Expected ']]'"),
        ("member = 1", "roster.toml: member: must be a list of tables, each written [[member]]"),
        ("[members]", "roster.toml: members: must not be there (only [[member]] is known)"),
        ('[[member]]\nkind = "csp"', "roster.toml: member[0].id: must be a text (missing)"),
        (GOOD.replace("isp-a", "ISP"), "roster.toml: member[0].id: id: must be a member id ('ISP')"),
        (GOOD.replace('"csp"', '"telco"'), "roster.toml: member 'isp-a'.kind: must be 'csp' or 'ixp' ('telco')"),
        (GOOD.replace(A.pin, "sha256:0"), "roster.toml: member 'isp-a'.pins: must be one or two, each"),
        (GOOD.replace(f'["{A.pin}"]', "[]"), "roster.toml: member 'isp-a'.pins: must be one or two, each"),
        (GOOD.replace(f'["{A.pin}"]', '"x"'), "roster.toml: member 'isp-a'.pins: must be a list of texts ('x')"),
        (GOOD + 'country = "Germany"', "roster.toml: member 'isp-a'.country: must be two capital letters"),
        (GOOD + 'negotiator = "b:1"', "roster.toml: member 'isp-a'.negotiator: must be an http or https URL ('b:1')"),
        (GOOD + 'negotiater = "x"', "roster.toml: member 'isp-a'.negotiater: must not be there (known: "),
        (GOOD + "policy = 1", "roster.toml: member 'isp-a'.policy: must be a table"),
        (GOOD + "policy.anounce = []", "roster.toml: member 'isp-a'.policy.anounce: must not be there (known: "),
        (GOOD + 'policy.announce = ["10.0.0.1/8"]', "policy.announce: announce[0]: must be a prefix"),
        (GOOD + "policy.order_required = 1", "policy.order_required: must be true or false (1)"),
        (GOOD + "policy.max_agreements = -1", "policy.max_agreements: must be a number of agreements (-1)"),
        (GOOD + GOOD, "roster.toml: member[1].id: must be there once ('isp-a')"),
        (
            GOOD + GOOD.replace("isp-a", "isp-c"),
            "roster.toml: member[1].pins: must not be those of another member ('isp-a')",
        ),
    ],
)
def test_a_bad_roster_is_refused_with_file_and_place(path: Path, text: str, problem: str) -> None:
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_roster(path)
    assert caught.value.code == "roster_malformed"
    assert problem in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_certificate_without_its_pin_is_refused(path: Path) -> None:
    write_roster(path, Roster((MEMBER_A,)))
    certificates_file(path, "isp-a").write_bytes(B.certificate)
    with pytest.raises(InvalidInput, match="must name every key in"):
        read_roster(path)
    certificates_file(path, "isp-a").write_bytes(b"garbage")
    with pytest.raises(InvalidInput, match="must hold the member's certificates"):
        read_roster(path)
