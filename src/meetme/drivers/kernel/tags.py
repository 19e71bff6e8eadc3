"""Whose an interface is: the circuit in its alias, written so that a batch takes it as one word."""

from __future__ import annotations

from string import punctuation
from urllib.parse import quote, unquote

TAG = "meetme"
_PLAIN = "".join(set(punctuation) - set("%#\"'\\"))
"""A batch of `ip` drops everything from `#` on, quoted or not, and takes quotes and backslashes for its own."""


def tag_of(circuit: str) -> str:
    """The alias of what belongs to `circuit`."""
    return f"{TAG}:{quote(circuit, safe=_PLAIN)}"


def circuit_of(alias: str) -> str | None:
    """The circuit of an interface with this alias; None: it is not ours."""
    return unquote(alias.removeprefix(f"{TAG}:")) if alias.startswith(f"{TAG}:") else None
