"""What every service of `meetme serve` starts from: the member's settings, its identity, its default database."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meetme.cli.member import member_directory

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from meetme.runtime.identity import Identity
    from meetme.runtime.settings import SettingsFile
    from meetme.runtime.tracing import Tracer


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """Who we are. What is not given is the file of its name in the member's folder (MEETME_DIR, /etc/meetme)."""

    id: str | None = None
    """Has to be that of the certificate: a check against the wrong file."""
    key: Path | None = None
    """Private key, PEM, readable by its owner alone (`key.pem`)."""
    certificate: Path | None = None
    """Whose public key the peers have pinned (`certificate.pem`)."""
    roster: Path | None = None
    """Who is who, with the peers' certificates beside it in `peers/` (`roster.toml`). Read again when it changes."""
    token: Path | None = None
    """Tokens of the local API, one a line (`token`, beside the key)."""
    local_clients: tuple[Path, ...] = ()
    """PEM files: certificates that open the local APIs over TLS as a token does, for anything."""
    local_readers: tuple[Path, ...] = ()
    """PEM files: certificates that open the local APIs over TLS for reading alone."""


def tracer_of(running: AsyncExitStack, service: str, member: str | None) -> Tracer | None:
    """What traces a service, where the environment asks for it; closed with `running`."""
    import asyncio

    from meetme.runtime.tracing import open_tracer

    tracer = open_tracer(service, member, os.environ)
    if tracer is not None:
        running.push_async_callback(asyncio.to_thread, tracer.close)
    return tracer


def identity_of(member: MemberSettings) -> Identity:
    """The member's identity. Raises NotFound, InvalidInput; also where `[member] id` names another one."""
    from meetme.model.errors import InvalidInput
    from meetme.runtime.identity import load_identity

    folder = member_directory()
    identity = load_identity(
        key=member.key or folder / "key.pem", certificate=member.certificate or folder / "certificate.pem"
    )
    if member.id is not None and member.id != identity.member:
        raise InvalidInput(
            "member_mismatch",
            f'member.id: is not that of the certificate ("{member.id}", "{identity.member}")',
            hint="correct the settings file, or name the right certificate",
            field="id",
        )
    return identity


def resolved(cls: Any, service: str, file: SettingsFile, flags: dict[str, Any]) -> Any:
    """The settings of a service, of the class `cls`: default < file < environment < flag. Raises InvalidInput."""
    from meetme.runtime.settings import resolve

    names = {declared.name for declared in fields(cls)}
    given = {name: value for name, value in flags.items() if name in names}
    return resolve(cls, service, file=file, environ=os.environ, flags=given)


def default_database(service: str) -> str:
    """The default: a file in the state folder, made if need be."""
    if os.geteuid() == 0:
        folder = Path("/var/lib/meetme")
    else:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "meetme"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{folder / service}.db"
