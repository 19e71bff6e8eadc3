"""The verbs that keep a member's folder: identity and peer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meetme.cli.main import run
from meetme.model.members import MemberKind, ServiceUrls
from meetme.runtime.roster import read_roster

ANYTHING = {
    "announce": [],
    "order_required": False,
    "max_agreements": None,
    "proposals_per_minute": None,
    "count_summaries": False,
}


def init(folder: Path, member: str) -> None:
    assert run(["identity", "init", "--id", member, "--dir", str(folder)]) == 0


def add(folder: Path, *arguments: str) -> int:
    return run(["peer", "add", *arguments, "--dir", str(folder), "--negotiator", "https://192.0.2.2:8470"])


def peers(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    assert run(["peer", "list", "--dir", str(folder), "--format", "json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_an_identity_is_made_once_and_its_secrets_are_its_owners(tmp_path: Path) -> None:
    init(tmp_path, "csp-a")
    assert {"key.pem", "certificate.pem", "token", "roster.toml"} <= {p.name for p in tmp_path.iterdir()}
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0
    assert (tmp_path / "token").stat().st_mode & 0o077 == 0
    key = (tmp_path / "key.pem").read_bytes()
    assert run(["identity", "init", "--id", "csp-a", "--dir", str(tmp_path)]) == 1
    assert (tmp_path / "key.pem").read_bytes() == key


def test_a_peer_comes_and_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, theirs = tmp_path / "a", tmp_path / "b"
    init(mine, "csp-a")
    init(theirs, "csp-b")
    assert (
        add(mine, "csp-b", "--certificate", str(theirs / "certificate.pem"), "--yes", "--announce", "10.0.0.0/8") == 0
    )
    (entry,) = peers(mine, capsys)
    assert entry["id"] == "csp-b"
    assert entry["policy"] == {**ANYTHING, "announce": ["10.0.0.0/8"]}
    assert run(["peer", "remove", "csp-b", "--dir", str(mine)]) == 0
    assert peers(mine, capsys) == []


def test_where_the_catalog_of_a_peer_listens_stays_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path / "a", "csp-a")
    init(tmp_path / "b", "csp-b")
    given = ("csp-b", "--certificate", str(tmp_path / "b/certificate.pem"), "--yes")
    for more in (("--catalog", "https://192.0.2.2:8472"), ()):
        assert add(tmp_path / "a", *given, *more) == 0
        (peer,) = peers(tmp_path / "a", capsys)
        assert (peer["catalog"], peer["composer"]) == ("https://192.0.2.2:8472", None)


def test_what_a_peer_may_do_is_shown_and_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, theirs = tmp_path / "a", tmp_path / "b"
    init(mine, "csp-a")
    init(theirs, "csp-b")
    known = ("csp-b", "--certificate", str(theirs / "certificate.pem"), "--yes")
    assert add(mine, *known, "--max-agreements", "3", "--order-required") == 0

    def policy(*flags: str, status: int = 0) -> object:
        capsys.readouterr()
        assert run(["peer", "policy", "csp-b", "--dir", str(mine), "--format", "json", *flags]) == status
        return json.loads(capsys.readouterr().out) if status == 0 else None

    ordered = {**ANYTHING, "order_required": True}
    assert policy() == {**ordered, "max_agreements": 3}
    assert policy("--max-agreements", "any", "--proposals-per-minute", "6") == {**ordered, "proposals_per_minute": 6}
    assert policy("--no-order-required", "--count-summaries", "--announce", "10.8.0.0/16") == {
        **ANYTHING,
        "announce": ["10.8.0.0/16"],
        "proposals_per_minute": 6,
        "count_summaries": True,
    }
    before = (mine / "roster.toml").read_bytes()
    assert policy("--announce", "10.8.0.1/16", status=2) is None
    assert policy("--announce", "10.8.0.0/16", "--any-prefix", status=2) is None
    assert policy("--max-agreements", "-1", status=2) is None
    assert (mine / "roster.toml").read_bytes() == before
    assert add(mine, *known) == 0
    assert (mine / "roster.toml").read_bytes() == before, "making it known again takes nothing back"
    assert policy("--any-prefix", "--no-count-summaries", "--proposals-per-minute", "any") == ANYTHING


def test_a_peer_that_cannot_be_reached_is_known_by_its_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(tmp_path / "a", "csp-a")
    init(tmp_path / "b", "csp-b")
    add_it = ["peer", "add", "csp-b", "--dir", str(tmp_path / "a")]
    assert run(add_it) == 2
    assert "certificate: must be given for a member that cannot be asked for it" in capsys.readouterr().err
    assert run([*add_it, "--certificate", str(tmp_path / "b/certificate.pem"), "--yes"]) == 0
    (entry,) = peers(tmp_path / "a", capsys)
    assert entry["negotiator"] is None


def test_an_exchange_is_known_by_its_composer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path / "a", "csp-a")
    init(tmp_path / "x", "ix-x")
    add_it = ["peer", "add", "ix-x", "--dir", str(tmp_path / "a"), "--certificate", str(tmp_path / "x/certificate.pem")]
    assert run([*add_it, "--kind", "ixp", "--composer", "https://192.0.2.9:8470", "--yes"]) == 0
    (member,) = read_roster(tmp_path / "a/roster.toml").members
    assert (member.kind, member.urls) == (MemberKind.IXP, ServiceUrls(composer="https://192.0.2.9:8470"))


def test_what_is_known_of_a_member_stays_where_no_flag_changes_it(tmp_path: Path) -> None:
    init(tmp_path / "a", "csp-a")
    init(tmp_path / "x", "ix-x")
    file = tmp_path / "x/certificate.pem"
    add_it = ["peer", "add", "ix-x", "--dir", str(tmp_path / "a"), "--certificate", str(file), "--yes"]
    composer, catalog = "https://192.0.2.9:8470", "https://192.0.2.9:8480"
    assert run([*add_it, "--kind", "ixp", "--country", "DE", "--composer", composer, "--catalog", catalog]) == 0
    (before,) = read_roster(tmp_path / "a/roster.toml").members
    assert run(add_it) == 0
    assert read_roster(tmp_path / "a/roster.toml").members == (before,)
    assert run([*add_it, "--negotiator", "https://192.0.2.9:8490"]) == 0
    (member,) = read_roster(tmp_path / "a/roster.toml").members
    assert (member.kind, member.country) == (MemberKind.IXP, "DE")
    assert member.urls == ServiceUrls(negotiator="https://192.0.2.9:8490", composer=composer, catalog=catalog)


def test_two_keys_while_a_peer_changes_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, old, new, third = (tmp_path / name for name in ("a", "old", "new", "third"))
    init(mine, "csp-a")
    for folder in (old, new, third):
        init(folder, "csp-b")
        capsys.readouterr()
    for folder, status in ((old, 0), (new, 0), (new, 0), (third, 2)):
        assert add(mine, "csp-b", "--certificate", str(folder / "certificate.pem"), "--yes") == status
    assert "has 2 keys already" in capsys.readouterr().err
    (entry,) = peers(mine, capsys)
    pins = entry["pins"]
    assert isinstance(pins, list)
    assert run(["peer", "remove", "csp-b", "--pin", pins[0], "--dir", str(mine)]) == 0
    (entry,) = peers(mine, capsys)
    assert entry["pins"] == pins[1:]


def test_nobody_is_trusted_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    init(tmp_path / "a", "csp-a")
    init(tmp_path / "b", "csp-b")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert add(tmp_path / "a", "csp-b", "--certificate", str(tmp_path / "b/certificate.pem")) == 130
    assert peers(tmp_path / "a", capsys) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("csp-c", "--certificate", "{b}/certificate.pem", "--yes"), "certificate_of_another"),
        (("csp-b", "--certificate", "{b}/certificate.pem", "--pin", "sha256:" + "0" * 64), "pin_mismatch"),
        (("csp-b", "--certificate", "{b}/nothing.pem", "--yes"), "certificate_missing"),
        (("csp-b", "--certificate", "{b}/key.pem", "--yes"), "certificate_malformed"),
        (("CSP B", "--certificate", "{b}/certificate.pem", "--yes"), "member_id_malformed"),
        (("csp-b", "--certificate", "{b}/certificate.pem", "--yes", "--announce", "10.0.0.1/8"), "prefix_host_bits"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(
    arguments: tuple[str, ...], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(tmp_path / "a", "csp-a")
    init(tmp_path / "b", "csp-b")
    before = (tmp_path / "a/roster.toml").read_bytes()
    assert add(tmp_path / "a", *(text.format(b=tmp_path / "b") for text in arguments)) == 2
    said = capsys.readouterr().err
    assert f"[{code}]" in said
    assert "Traceback" not in said
    assert (tmp_path / "a/roster.toml").read_bytes() == before


@pytest.mark.parametrize("url", ["https://[", "https://a.example:99999", "http://a.example", "a.example:8470"])
def test_a_peer_is_asked_at_an_address_only(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    init(tmp_path, "csp-a")
    before = sorted(tmp_path.iterdir())
    assert run(["peer", "add", "csp-b", "--dir", str(tmp_path), "--negotiator", url]) == 2
    assert "[url_malformed]" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
