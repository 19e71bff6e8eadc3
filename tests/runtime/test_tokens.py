"""Tokens of the local API."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from meetme.model.errors import Conflict, InvalidInput, NotFound
from meetme.runtime.tokens import Scope, Tokens, create_token_file


def test_a_new_token_is_good_for_anything_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = create_token_file(path)
    assert Tokens.read(path).scope_of(token) is Scope.WRITE
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Conflict):
        create_token_file(path)
    assert path.read_text() == token + "\n"


def test_a_file_may_limit_tokens_and_hold_hashes(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"alpha\n\nbeta read\nsha256:{hashlib.sha256(b'gamma').hexdigest()} write\n")
    tokens = Tokens.read(path)
    assert [tokens.scope_of(token) for token in ("alpha", "beta", "gamma")] == [Scope.WRITE, Scope.READ, Scope.WRITE]
    for stranger in ("", "alph", "alpha ", "delta", "é", f"sha256:{hashlib.sha256(b'gamma').hexdigest()}"):
        assert tokens.scope_of(stranger) is None


def test_what_is_no_token_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    with pytest.raises(NotFound):
        Tokens.read(path)
    path.write_text("good\nsecret everything\n")
    with pytest.raises(InvalidInput, match="line 2") as caught:
        Tokens.read(path)
    assert "secret" not in str(caught.value)


def test_tokens_are_not_kept_as_they_are() -> None:
    assert "alpha" not in str(vars(Tokens.of({"alpha": Scope.READ})))
