"""`meetme serve SERVICE...`: run services of one member in one process, each with its own listeners."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meetme.cli.member import member_directory

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from meetme.configurator.settings import ConfiguratorSettings
    from meetme.ixapi.settings import IxApiSettings
    from meetme.runtime.database import Database
    from meetme.runtime.grpc import Tls
    from meetme.runtime.identity import Identity
    from meetme.runtime.settings import SettingsFile
    from meetme.runtime.tracing import Tracer

SERVICES = ("negotiator", "composer", "configurator", "ixapi")


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


@click.command(epilog="Example: meetme serve negotiator configurator --config /etc/meetme/meetme.toml")
@click.argument("services", nargs=-1, required=True, type=click.Choice(SERVICES))
@click.option("--config", type=click.Path(path_type=Path), envvar="MEETME_CONFIG", help="Settings file (TOML).")
@click.option(
    "--listen",
    help="Local API (negotiator, default 127.0.0.1:8471; composer, :8473), IX-API (:8474), gRPC (configurator, :8475).",
)
@click.option("--listen-peers", help="Where other members reach the service: the only thing the outside ever sees.")
@click.option("--listen-metrics", help="Where /metrics is served without a token.")
@click.option("--database", help="sqlite:///PATH or postgresql://...  [default: a file in the state folder]")
@click.option("--local-subnet", multiple=True, help="Negotiator: prefix to make reachable; repeatable.")
@click.option("--border-router-port", help="Negotiator: port to configure when a circuit has no attachment.")
@click.option("--private-networks", multiple=True, help="Negotiator: pool for aliases on overlap; repeatable.")
@click.option("--negotiated-networks", multiple=True, help="Negotiator: pool for numbered links; repeatable.")
@click.option("--configurator", multiple=True, help="Negotiator: NAME=HOST:PORT of a border router; repeatable.")
@click.option("--in-use", multiple=True, help="Negotiator: prefix in use that the router cannot tell; repeatable.")
@click.option("--probe-address", help="Negotiator: what answers probes.  [default: the router's own address]")
@click.option("--probe-interval", type=float, help="Negotiator: seconds between looks at each agreement; 0: none.")
@click.option("--driver", help="Configurator: the device's driver.  [default: linux]")
@click.option("--log-format", type=click.Choice(["json", "console"]), help="[default: console on a terminal]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def serve(services: tuple[str, ...], config: Path | None, log_format: str | None, log_level: str, **flags: Any) -> int:
    """Run SERVICES of this member until it is told to stop (Ctrl-C, SIGTERM).

    A setting comes from its flag, else from the environment (MEETME_NEGOTIATOR_LOCAL_SUBNET), else from the settings
    file, else from its default. Agreements survive a stop: the routers keep forwarding.
    """
    import sys

    from meetme.cli.output import log_failure
    from meetme.model.errors import MeetMeError
    from meetme.runtime.telemetry import LogFormat, configure_logging

    form = LogFormat(log_format or ("console" if sys.stderr.isatty() else "json"))
    configure_logging(form, level=log_level)
    try:
        return _serve(services, config, flags)
    except MeetMeError as error:
        if log_format != LogFormat.JSON:
            raise
        # Who asked for lines that a program can read gets no other, the last one neither.
        return log_failure(error)


def _serve(services: tuple[str, ...], config: Path | None, flags: dict[str, Any]) -> int:
    import asyncio

    import uvloop

    from meetme.model.errors import InvalidInput
    from meetme.runtime.settings import SettingsFile, resolve

    known = ("member", *SERVICES)
    file = SettingsFile.read(config, services=known) if config else SettingsFile()
    member = resolve(MemberSettings, "member", file=file, environ=os.environ, flags={})
    shared = ("listen", "listen_metrics", "database")
    several = set(services) & {"negotiator", "composer"}
    if (len(set(services)) > 1 and any(flags[name] for name in shared)) or (len(several) > 1 and flags["listen_peers"]):
        raise InvalidInput(
            "flag_ambiguous",
            "--listen, --listen-peers, --listen-metrics, --database: belong to one service, but several are named",
            hint="write them into the settings file, one table a service",
            field="listen",
        )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(services, file, member, flags))
    return 0


async def _run(services: tuple[str, ...], file: SettingsFile, member: MemberSettings, flags: dict[str, Any]) -> None:
    """Start the services, wait for the word to stop, stop them in reverse."""
    import asyncio
    import gc
    import signal
    from contextlib import AsyncExitStack, suppress

    import structlog

    from meetme.runtime.notify import Manager

    manager = Manager.of(os.environ)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as running:
        starters = [STARTERS[service] for service in STARTERS if service in services]
        # Almost nothing of what a start makes is thrown away: to look for it again and again takes a tenth of the time.
        gc.disable()
        try:
            alive = [await start(running, file, member, flags) for start in starters]
        finally:
            gc.enable()
        # What is there now stays: without it among the objects to look through, a collection costs microseconds, not
        # the 50 ms that a negotiation takes.
        gc.collect()
        gc.freeze()
        life = asyncio.create_task(manager.show_life(lambda: all(each() for each in alive)))
        manager.tell(READY="1")
        await stopped.wait()
        manager.tell(STOPPING="1")
        structlog.get_logger().info("stopping")
        life.cancel()
        with suppress(asyncio.CancelledError):
            await life


async def _configurator(
    running: AsyncExitStack, file: SettingsFile, member: MemberSettings, flags: dict[str, Any]
) -> Callable[[], bool]:
    import structlog

    from meetme.configurator.service import ConfiguratorService
    from meetme.configurator.settings import ConfiguratorSettings
    from meetme.drivers.registry import load_driver
    from meetme.runtime.clock import SystemClock
    from meetme.runtime.database import Database
    from meetme.runtime.grpc import in_the_clear

    settings = _resolve(ConfiguratorSettings, "configurator", file, flags)
    clear = in_the_clear(settings.listen) and not settings.clients
    tls = None if clear else _configurator_tls(settings, member)
    database = Database.open(settings.database or _database("configurator"))
    running.push_async_callback(database.close)
    driver = load_driver(settings.driver)
    tracer = _tracer(running, "configurator", member.id)
    service = ConfiguratorService(driver, database, SystemClock(), stray_seconds=settings.stray_seconds, tracer=tracer)
    address = await service.start(settings.listen, tls, metrics=settings.listen_metrics)
    running.push_async_callback(service.stop)
    structlog.get_logger().info(
        "configurator listens", driver=settings.driver, address=address, metrics=service.metrics_url
    )
    return service.alive


def _configurator_tls(settings: ConfiguratorSettings, member: MemberSettings) -> Callable[[], Tls]:
    from meetme.runtime.grpc import Tls
    from meetme.runtime.identity import load_identity

    folder = member_directory()
    key = settings.key or member.key or folder / "key.pem"
    certificate = settings.certificate or member.certificate or folder / "certificate.pem"
    identity = load_identity(key=key, certificate=certificate)
    allowed = settings.clients or (member.certificate or folder / "certificate.pem",)

    def now() -> Tls:
        return Tls(identity.key, identity.certificate, tuple(path.read_bytes() for path in allowed))

    return now


async def _negotiator(
    running: AsyncExitStack, file: SettingsFile, member: MemberSettings, flags: dict[str, Any]
) -> Callable[[], bool]:
    import structlog

    from meetme.negotiator.service import NegotiatorService
    from meetme.negotiator.settings import NegotiatorSettings
    from meetme.runtime.clock import SystemClock
    from meetme.runtime.database import Database
    from meetme.runtime.local_tls import LocalClients
    from meetme.runtime.roster import RosterFile
    from meetme.runtime.tokens import Tokens

    settings = _resolve(NegotiatorSettings, "negotiator", file, flags)
    identity = _identity(member)
    settings.check(identity.member)
    folder = member_directory()
    database = Database.open(settings.database or _database("negotiator"))
    running.push_async_callback(database.close)
    service = NegotiatorService(
        settings,
        identity=identity,
        roster=RosterFile(member.roster or folder / "roster.toml"),
        tokens=Tokens.read(member.token or (member.key or folder / "key.pem").with_name("token")),
        database=database,
        clock=SystemClock(),
        tracer=_tracer(running, "negotiator", identity.member),
        clients=LocalClients.read(clients=member.local_clients, readers=member.local_readers),
    )
    await service.start()
    running.push_async_callback(service.close)
    structlog.get_logger().info(
        "negotiator listens",
        member=identity.member,
        local=service.local_url,
        peers=service.peers_url,
        metrics=service.metrics_url,
    )
    return service.alive


async def _composer(
    running: AsyncExitStack, file: SettingsFile, member: MemberSettings, flags: dict[str, Any]
) -> Callable[[], bool]:
    import structlog

    from meetme.composer.exchange import open_exchange
    from meetme.composer.service import ComposerService
    from meetme.composer.settings import ComposerSettings
    from meetme.runtime.clock import SystemClock
    from meetme.runtime.database import Database
    from meetme.runtime.local_tls import LocalClients
    from meetme.runtime.roster import RosterFile
    from meetme.runtime.tokens import Tokens

    settings = _resolve(ComposerSettings, "composer", file, flags)
    identity = _identity(member)
    settings.check(identity.member)
    folder = member_directory()
    database = Database.open(settings.database or _database("composer"))
    running.push_async_callback(database.close)
    exchange = open_exchange(settings)
    running.push_async_callback(exchange.close)
    service = ComposerService(
        settings,
        identity=identity,
        roster=RosterFile(member.roster or folder / "roster.toml"),
        tokens=Tokens.read(member.token or (member.key or folder / "key.pem").with_name("token")),
        database=database,
        clock=SystemClock(),
        exchange=exchange,
        tracer=_tracer(running, "composer", identity.member),
        clients=LocalClients.read(clients=member.local_clients, readers=member.local_readers),
    )
    await service.start()
    running.push_async_callback(service.close)
    structlog.get_logger().info(
        "composer listens",
        member=identity.member,
        local=service.local_url,
        peers=service.peers_url,
        metrics=service.metrics_url,
    )
    return service.alive


async def _ixapi(
    running: AsyncExitStack, file: SettingsFile, member: MemberSettings, flags: dict[str, Any]
) -> Callable[[], bool]:
    import structlog

    from meetme.ixapi.service import IxApiService
    from meetme.runtime.clock import SystemClock

    settings, identity, database = _exchange(file, member, flags)
    running.push_async_callback(database.close)
    service = IxApiService(
        settings,
        database=database,
        clock=SystemClock(),
        identity=identity,
        tracer=_tracer(running, "ixapi", member.id),
    )
    await service.start()
    running.push_async_callback(service.close)
    structlog.get_logger().info("ixapi listens", url=service.url, metrics=service.metrics_url)
    return service.alive


def exchange_of(config: Path | None) -> tuple[IxApiSettings, Identity | None, Database]:
    """What `meetme serve ixapi --config CONFIG` runs with, for a verb that works beside it."""
    from meetme.runtime.settings import SettingsFile, resolve

    file = SettingsFile.read(config, services=("member", *SERVICES)) if config else SettingsFile()
    return _exchange(file, resolve(MemberSettings, "member", file=file, environ=os.environ, flags={}), {})


def _exchange(
    file: SettingsFile, member: MemberSettings, flags: dict[str, Any]
) -> tuple[IxApiSettings, Identity | None, Database]:
    from meetme.ixapi.settings import IxApiSettings
    from meetme.model.errors import NotFound
    from meetme.runtime.database import Database

    settings: IxApiSettings = _resolve(IxApiSettings, "ixapi", file, flags)
    settings.check()
    try:
        identity = _identity(member)
    except NotFound:
        if member.key is not None or member.certificate is not None:
            raise
        identity = None  # on loopback nobody needs one
    return settings, identity, Database.open(settings.database or _database("ixapi"))


def _tracer(running: AsyncExitStack, service: str, member: str | None) -> Tracer | None:
    import asyncio

    from meetme.runtime.tracing import open_tracer

    tracer = open_tracer(service, member, os.environ)
    if tracer is not None:
        running.push_async_callback(asyncio.to_thread, tracer.close)
    return tracer


def _identity(member: MemberSettings) -> Identity:
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


def _resolve(cls: Any, service: str, file: SettingsFile, flags: dict[str, Any]) -> Any:
    from meetme.runtime.settings import resolve

    names = {declared.name for declared in fields(cls)}
    given = {name: value for name, value in flags.items() if name in names}
    return resolve(cls, service, file=file, environ=os.environ, flags=given)


def _database(service: str) -> str:
    """The default: a file in the state folder, made if need be."""
    if os.geteuid() == 0:
        folder = Path("/var/lib/meetme")
    else:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "meetme"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{folder / service}.db"


STARTERS = {"configurator": _configurator, "ixapi": _ixapi, "composer": _composer, "negotiator": _negotiator}
"""In the order in which they are started: what others in the same process ask comes first."""
