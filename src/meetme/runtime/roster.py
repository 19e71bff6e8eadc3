"""`roster.toml`: who is who, with the members' certificates beside it in `peers/<id>.pem`.

    [[member]]
    id = "isp-one"
    kind = "csp"
    country = "DE"
    pins = ["sha256:..."]
    negotiator = "https://isp-one.example:8471"
    [member.policy]
    announce = ["10.0.0.0/8"]

A file that changes while a service runs is read again; a broken one is reported, and the last good one stays in force.
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import structlog

from meetme.model.addresses import parse_prefix
from meetme.model.errors import InvalidInput, MeetMeError
from meetme.model.members import Member, MemberKind, MemberPolicy, Roster, ServiceUrls, parse_member_id
from meetme.runtime.identity import fingerprint, pin_of, split_certificates

T = TypeVar("T")

_PIN = re.compile(r"sha256:[0-9a-f]{64}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")
_SERVICES = tuple(service.name for service in fields(ServiceUrls))
_KEYS = {"id", "kind", "country", "pins", "policy", *_SERVICES}
_POLICY_KEYS = {policy.name for policy in fields(MemberPolicy)}
MOST_PINS = 2


class RosterFile:
    """The roster as it is on disk now: call it for the present one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._roster = read_roster(path)
        self._seen = self._mark()
        self._log = structlog.get_logger()

    def __call__(self) -> Roster:
        """The roster, read again if the file has changed. The same object as long as it has not."""
        mark = self._mark()
        if mark != self._seen:
            self._seen = mark
            try:
                self._roster = read_roster(self._path)
            except MeetMeError as error:
                self._log.error("the roster cannot be read, the last good one stays in force", problem=error.text)
        return self._roster

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


def read_roster(path: Path) -> Roster:
    """Read the roster; a file that does not exist is an empty one.

    Raises InvalidInput `roster_malformed`, whose text names the file, the member and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Roster()
    except (OSError, UnicodeDecodeError) as error:
        _malformed(path, "", f"must be a text file that can be read ({error})")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _malformed(path, "", f"must be TOML ({error})")
    for key in table.keys() - {"member"}:
        _malformed(path, key, "must not be there (only [[member]] is known)")
    entries = table.get("member", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        _malformed(path, "member", "must be a list of tables, each written [[member]]")
    members = tuple(_Entry(path, index, entry).member() for index, entry in enumerate(entries))
    for index, member in enumerate(members):
        for other in members[:index]:
            if member.id == other.id:
                _malformed(path, f"member[{index}].id", f"must be there once ('{member.id}')")
            if set(member.pins) & set(other.pins):
                _malformed(path, f"member[{index}].pins", f"must not be those of another member ('{other.id}')")
    return Roster(members)


class _Entry:
    """One [[member]] on its way from TOML to a value; every complaint names file, member and key."""

    def __init__(self, path: Path, index: int, table: Mapping[str, Any]) -> None:
        self.path, self.table, self.where = path, table, f"member[{index}]"

    def member(self) -> Member:
        id = self.checked("id", lambda text: parse_member_id(text, field="id"))
        self.where = f"member '{id}'"
        self.known(self.table, _KEYS, "")
        pins = self.strings(self.table, "pins")
        if not 1 <= len(pins) <= MOST_PINS or not all(_PIN.fullmatch(pin) for pin in pins):
            self.wrong("pins", f"must be one or two, each 'sha256:' and 64 hex digits ({list(pins)})")
        urls = {service: self.optional(service, _URL, "an http or https URL") for service in _SERVICES}
        return Member(
            id=id,
            kind=self.checked("kind", MemberKind, "'csp' or 'ixp'"),
            pins=pins,
            certificates=self.certificates(id, pins),
            country=self.optional("country", _COUNTRY, "two capital letters (ISO 3166-1)"),
            urls=ServiceUrls(**urls),
            policy=self.policy(),
        )

    def certificates(self, id: str, pins: tuple[str, ...]) -> tuple[bytes, ...]:
        file = certificates_file(self.path, id)
        try:
            found = split_certificates(file.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, InvalidInput) as error:
            self.wrong("pins", f"'{file}' must hold the member's certificates ({error})")
        for certificate in found:
            if (pin := pin_of(certificate)) not in pins:
                self.wrong("pins", f"must name every key in '{file}' (not {fingerprint(pin)})")
        return found

    def policy(self) -> MemberPolicy:
        table = self.table.get("policy", {})
        if not isinstance(table, dict):
            self.wrong("policy", "must be a table")
        self.known(table, _POLICY_KEYS, "policy.")
        try:
            announce = tuple(
                parse_prefix(text, field=f"announce[{index}]")
                for index, text in enumerate(self.strings(table, "announce", "policy."))
            )
        except InvalidInput as error:
            self.wrong("policy.announce", error.text)
        return MemberPolicy(
            announce=announce,
            order_required=self.choice(table, "order_required"),
            max_agreements=self.number(table, "max_agreements", "agreements"),
            proposals_per_minute=self.number(table, "proposals_per_minute", "negotiations"),
            count_summaries=self.choice(table, "count_summaries"),
        )

    def choice(self, table: Mapping[str, Any], key: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            self.wrong(f"policy.{key}", f"must be true or false ({value!r})")
        return value

    def number(self, table: Mapping[str, Any], key: str, of: str) -> int | None:
        value = table.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            self.wrong(f"policy.{key}", f"must be a number of {of} ({value!r})")
        return value

    def known(self, table: Mapping[str, Any], keys: set[str], prefix: str) -> None:
        for key in table.keys() - keys:
            self.wrong(prefix + key, f"must not be there (known: {', '.join(sorted(keys))})")

    def checked(self, key: str, parse: Callable[[str], T], what: str = "") -> T:
        value = self.table.get(key)
        if not isinstance(value, str):
            self.wrong(key, f"must be a text ({'missing' if value is None else repr(value)})")
        try:
            return parse(value)
        except (ValueError, InvalidInput) as error:
            self.wrong(key, f"must be {what} ('{value}')" if what else str(error))

    def optional(self, key: str, pattern: re.Pattern[str], what: str) -> str | None:
        value = self.table.get(key)
        if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
            self.wrong(key, f"must be {what} ({value!r})")
        return value

    def strings(self, table: Mapping[str, Any], key: str, prefix: str = "") -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            self.wrong(prefix + key, f"must be a list of texts ({value!r})")
        return tuple(value)

    def wrong(self, key: str, rule: str) -> NoReturn:
        _malformed(self.path, f"{self.where}.{key}", rule)


def _malformed(path: Path, field: str, rule: str) -> NoReturn:
    where = f"{path}: {field}" if field else str(path)
    raise InvalidInput("roster_malformed", f"{where}: {rule}", field=field or None)


def certificates_file(roster: Path, member: str) -> Path:
    """Where the certificates of one member are kept."""
    return roster.parent / "peers" / f"{member}.pem"


def write_roster(path: Path, roster: Roster) -> None:
    """Write the roster and the certificates; a reader sees the old or the new one, never half of either.

    Comments of a person in the old file are lost; that is why it begins with one of ours.
    """
    folder = certificates_file(path, "x").parent
    folder.mkdir(parents=True, exist_ok=True)
    # A pin without a certificate can be read, a certificate without its pin cannot: so the certificates of members
    # that are new come first and those of members that are gone go last.
    text = _HEADER + "".join(_entry(member) for member in roster.members)
    for member in roster.members:
        if member.certificates:
            _replace(certificates_file(path, member.id), b"".join(member.certificates))
    _replace(path, text.encode())
    for file in folder.glob("*.pem"):
        if roster.find(file.stem) is None:
            file.unlink()


_HEADER = "# Written by `meetme peer`: who is who in the federation.\n"


def _entry(member: Member) -> str:
    lines = ["", "[[member]]", f"id = {_quoted(member.id)}", f"kind = {_quoted(member.kind)}"]
    if member.country:
        lines.append(f"country = {_quoted(member.country)}")
    lines.append(f"pins = {_list(member.pins)}")
    urls = {service: getattr(member.urls, service) for service in _SERVICES}
    lines += [f"{service} = {_quoted(url)}" for service, url in urls.items() if url]
    policy = member.policy
    if policy != MemberPolicy():
        lines.append("[member.policy]")
        if policy.announce:
            lines.append(f"announce = {_list(tuple(map(str, policy.announce)))}")
        lines += [f"{rule} = true" for rule in ("order_required", "count_summaries") if getattr(policy, rule)]
        limits = {rule: getattr(policy, rule) for rule in ("max_agreements", "proposals_per_minute")}
        lines += [f"{rule} = {limit}" for rule, limit in limits.items() if limit is not None]
    return "\n".join(lines) + "\n"


def _list(texts: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def _quoted(text: str) -> str:
    # A TOML basic string; what would need more than this (control characters) never passes the reader's patterns.
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
