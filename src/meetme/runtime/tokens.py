"""Tokens of the local API: who may read, who may change something.

A token file has one token a line, with the scope it is limited to, if any; instead of a token there may be its hash, so
that a server can hold what it could not use itself:

    Zk3...        (may do anything)
    9sP... read
    sha256:5f1... write
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from meetme.model.errors import Conflict, InvalidInput, NotFound

_HASH = "sha256:"


class Scope(StrEnum):
    """What a token is good for."""

    READ = "read"
    WRITE = "write"
    """Changes, and reading too."""


class Tokens:
    """The tokens that are known, as hashes. There is nothing in here that could be used to log in."""

    def __init__(self, scopes: Mapping[str, Scope]) -> None:
        """`scopes` by the hex SHA-256 of the token."""
        self._scopes = dict(scopes)

    @classmethod
    def of(cls, tokens: Mapping[str, Scope]) -> Tokens:
        """From tokens as they are."""
        return cls({_digest(token): scope for token, scope in tokens.items()})

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """From a token file. Raises NotFound `tokens_missing`, InvalidInput `tokens_malformed`."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(
                "tokens_missing",
                f"tokens: must be a file that can be read ('{path}': {error})",
                hint="meetme identity init writes one",
                field="tokens",
            ) from None
        scopes: dict[str, Scope] = {}
        for number, line in enumerate(lines, 1):
            match line.split():
                case []:
                    continue
                case [token]:
                    scope = Scope.WRITE
                case [token, ("read" | "write") as word]:
                    scope = Scope(word)
                case _:
                    # The line itself is not shown: it may hold a token.
                    raise InvalidInput(
                        "tokens_malformed",
                        f"{path}: line {number}: must be a token and, if limited, 'read' or 'write'",
                        field="tokens",
                    )
            scopes[token.removeprefix(_HASH) if token.startswith(_HASH) else _digest(token)] = scope
        return cls(scopes)

    def scope_of(self, token: str) -> Scope | None:
        """What `token` is good for, or None if nobody knows it. Takes as long for one as for any other."""
        digest, found = _digest(token), None
        for known, scope in self._scopes.items():
            if hmac.compare_digest(known, digest):
                found = scope
        return found


def create_token_file(path: Path) -> str:
    """Write one new token, good for anything, for its owner alone. Raises Conflict `token_exists`."""
    token = secrets.token_urlsafe(32)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Conflict("token_exists", f"token: must not replace one that is there ('{path}')", field="token") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    return token


def read_one(path: Path) -> str:
    """The first token of a file: what a client sends. Raises NotFound `tokens_missing`."""
    try:
        return path.read_text(encoding="utf-8").split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise NotFound(
            "tokens_missing", f"token: must be in a file that can be read ('{path}': {error})", field="token"
        ) from None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
