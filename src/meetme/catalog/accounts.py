"""Local accounts of the web page: who may log in, and what each may do. Rules only; `accounts_store` keeps them.

A role is a permission: `order` is to buy and take back, `approve` to decide about orders of other members. Either
includes `read`: nobody can decide about what they may not see. Neither includes the other, so that whoever spends and
whoever lets others in can be two people.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from meetme.model.errors import Problem

LONGEST_NAME = 64
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 200
"""Characters. NIST SP 800-63B, 3.1.1.2: length is what counts; at least 64 have to be taken."""
LEAST_DIFFERENT = 5
"""Different characters in a password."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._@-]*[a-z0-9])?")


class Role(StrEnum):
    """What an account may do."""

    READ = "read"
    """See offers, orders and connections."""
    ORDER = "order"
    """Order services of other members and take orders back; and read."""
    APPROVE = "approve"
    """Decide about orders of other members; and read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who may log in."""

    name: str
    roles: frozenset[Role]
    """As they were given; `may` knows what they include."""
    epoch: int
    """Another one after every change of the account. A session carries that of its login and ends with it."""
    changed: float
    """When it was changed last, epoch seconds."""

    def may(self, role: Role) -> bool:
        """Whether it may do what `role` allows."""
        return role in self.roles or (role is Role.READ and bool(self.roles))


def normal_name(text: str) -> str:
    """A name as it is kept: upper and lower case are the same, blanks around it do not count."""
    return text.strip().lower()


def normal_password(text: str) -> str:
    """A password as it is hashed: the same characters, however a keyboard composes them (Unicode, NFKC)."""
    return unicodedata.normalize("NFKC", text)


def name_problems(name: str) -> Iterator[Problem]:
    """What is wrong with the (normal) name of a new account."""
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        text = f'name: must be 1 to {LONGEST_NAME} letters, digits, ".", "_", "-" or "@" ("{name[:LONGEST_NAME]}")'
        yield Problem(
            "account_name_invalid", text, "begin and end with a letter or digit: anna, or anna@example", "name"
        )


def role_problems(roles: Iterable[Role]) -> Iterator[Problem]:
    """What is wrong with the roles of an account."""
    if not set(roles):
        text = "role: must be given at least once (none)"
        yield Problem("account_roles_missing", text, f"one or more of {', '.join(Role)}", "role")


def password_problems(name: str, password: str) -> Iterator[Problem]:
    """What is wrong with a (normal) password of the account `name`. The password itself is in no text."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        text = f"password: must be {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters long (it has {len(password)})"
        yield Problem("password_length", text, "several words are easy to remember; --generate makes one", "password")
        return
    if not password.isprintable():
        text = "password: must be of characters that can be typed (it has others)"
        yield Problem("password_unprintable", text, "a file may end with one line break", "password")
    if len(set(password)) < LEAST_DIFFERENT or (name and name in password.lower()):
        text = "password: must not be easy to guess (it repeats few characters, or has the account's name in it)"
        yield Problem(
            "password_guessable", text, "several words are easy to remember; --generate makes one", "password"
        )
