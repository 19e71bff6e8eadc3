"""`meetme serve SERVICE...`: run services of one member in one process, each with its own listeners."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meetme.cli.member import member_directory
from meetme.cli.serving import MemberSettings, default_database, identity_of, resolved, tracer_of

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from meetme.configurator.settings import ConfiguratorSettings
    from meetme.ixapi.settings import IxApiSettings
    from meetme.runtime.database import Database
    from meetme.runtime.grpc import Tls
    from meetme.runtime.identity import Identity
    from meetme.runtime.settings import SettingsFile

SERVICES = ("negotiator", "composer", "configurator", "ixapi", "catalog")


@click.command(epilog="Example: meetme serve negotiator configurator --config /etc/meetme/meetme.toml")
@click.argument("services", nargs=-1, required=True, type=click.Choice(SERVICES))
@click.option("--config", type=click.Path(path_type=Path), envvar="MEETME_CONFIG", help="Settings file (TOML).")
@click.option(
    "--listen",
    help="Local API (negotiator, default 127.0.0.1:8471; catalog, :8472; composer, :8473), IX-API (:8474) or gRPC.",
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
    several = set(services) & {"negotiator", "composer", "catalog"}
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

    settings = resolved(ConfiguratorSettings, "configurator", file, flags)
    clear = in_the_clear(settings.listen) and not settings.clients
    tls = None if clear else _configurator_tls(settings, member)
    database = Database.open(settings.database or default_database("configurator"))
    running.push_async_callback(database.close)
    driver = load_driver(settings.driver)
    tracer = tracer_of(running, "configurator", member.id)
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

    settings = resolved(NegotiatorSettings, "negotiator", file, flags)
    identity = identity_of(member)
    settings.check(identity.member)
    folder = member_directory()
    database = Database.open(settings.database or default_database("negotiator"))
    running.push_async_callback(database.close)
    service = NegotiatorService(
        settings,
        identity=identity,
        roster=RosterFile(member.roster or folder / "roster.toml"),
        tokens=Tokens.read(member.token or (member.key or folder / "key.pem").with_name("token")),
        database=database,
        clock=SystemClock(),
        tracer=tracer_of(running, "negotiator", identity.member),
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

    settings = resolved(ComposerSettings, "composer", file, flags)
    identity = identity_of(member)
    settings.check(identity.member)
    folder = member_directory()
    database = Database.open(settings.database or default_database("composer"))
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
        tracer=tracer_of(running, "composer", identity.member),
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


async def _catalog(
    running: AsyncExitStack, file: SettingsFile, member: MemberSettings, flags: dict[str, Any]
) -> Callable[[], bool]:
    import structlog

    from meetme.catalog.service import CatalogService
    from meetme.catalog.settings import CatalogSettings
    from meetme.runtime.clock import SystemClock
    from meetme.runtime.database import Database
    from meetme.runtime.local_tls import LocalClients
    from meetme.runtime.roster import RosterFile
    from meetme.runtime.tokens import Tokens, read_one

    settings = resolved(CatalogSettings, "catalog", file, flags)
    settings.check()
    identity = identity_of(member)
    folder = member_directory()
    token = None if settings.negotiator_token is None else read_one(settings.negotiator_token)
    database = Database.open(settings.database or default_database("catalog"))
    running.push_async_callback(database.close)
    service = CatalogService(
        settings,
        identity=identity,
        roster=RosterFile(member.roster or folder / "roster.toml"),
        tokens=Tokens.read(member.token or (member.key or folder / "key.pem").with_name("token")),
        database=database,
        clock=SystemClock(),
        negotiator_token=token,
        tracer=tracer_of(running, "catalog", identity.member),
        clients=LocalClients.read(clients=member.local_clients, readers=member.local_readers),
    )
    await service.start()
    running.push_async_callback(service.close)
    structlog.get_logger().info(
        "catalog listens",
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
        tracer=tracer_of(running, "ixapi", member.id),
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

    settings: IxApiSettings = resolved(IxApiSettings, "ixapi", file, flags)
    settings.check()
    try:
        identity = identity_of(member)
    except NotFound:
        if member.key is not None or member.certificate is not None:
            raise
        identity = None  # on loopback nobody needs one
    return settings, identity, Database.open(settings.database or default_database("ixapi"))


STARTERS = {
    "configurator": _configurator,
    "ixapi": _ixapi,
    "composer": _composer,
    "negotiator": _negotiator,
    "catalog": _catalog,
}
"""In the order in which they are started: what others in the same process ask comes first."""
