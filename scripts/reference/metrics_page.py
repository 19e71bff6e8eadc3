"""Every figure of the services for Prometheus, from the services themselves, and example alerts."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

from markdown import table
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from meetme.catalog.service import CatalogService
from meetme.catalog.settings import CatalogSettings
from meetme.composer.service import ComposerService
from meetme.composer.settings import ComposerSettings
from meetme.configurator.service import ConfiguratorService
from meetme.drivers.memory import MemoryDriver
from meetme.ixapi.fake import FakeExchange
from meetme.ixapi.service import IxApiService
from meetme.ixapi.settings import IxApiSettings, SwitchSetting
from meetme.model.members import Roster
from meetme.negotiator.service import NegotiatorService
from meetme.negotiator.settings import Configurator, NegotiatorSettings
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.identity import create_identity
from meetme.runtime.tokens import Tokens

_INTRODUCTION = """# Metrics

For Prometheus, at `/metrics` of a service's local API, and without a token at `--listen-metrics`.
No label has a value that a stranger chooses: `peer` and `member` are those of the roster, `router` those of the
settings, all others are words that stand here. Times are in seconds. A counter is also told with the time of its first
count (`_created`), a histogram has `_bucket`, `_sum` and `_count`.
"""
_ALERTS = """## Alerts

An example, `packaging/prometheus/alerts.yml`, for `rule_files` of a Prometheus whose jobs are named `meetme-...`:
"""
_OTHERS = "Beside them, of every service, the figures of its process (`process_...`) and of Python (`python_...`)."
_OWN = "meetme_"
_SUFFIX = {"counter": "_total"}


def page(alerts: Path) -> str:
    """The page of the metrics."""
    database = Database.open("sqlite://")
    try:
        negotiator = NegotiatorService(
            NegotiatorSettings(
                "eth1",
                (ip_network("10.0.0.0/24"),),
                (ip_network("172.16.0.0/12"),),
                (ip_network("169.254.100.0/24"),),
                (Configurator("router1", "127.0.0.1:8475"),),
            ),
            identity=create_identity("csp-a"),
            roster=Roster,
            tokens=Tokens({}),
            database=database,
            clock=SystemClock(),
        )
        configurator = ConfiguratorService(MemoryDriver(), database, SystemClock())
        settings = IxApiSettings(switch=(SwitchSetting("s1", "127.0.0.1:8475"),))
        ixapi = IxApiService(settings, database=database, clock=SystemClock())
        composer = ComposerService(
            ComposerSettings("memory"),
            identity=create_identity("ixp-a"),
            roster=Roster,
            tokens=Tokens({}),
            database=database,
            clock=SystemClock(),
            exchange=FakeExchange(),
        )
        catalog = CatalogService(
            CatalogSettings(),
            identity=create_identity("csp-a"),
            roster=Roster,
            tokens=Tokens({}),
            database=database,
            clock=SystemClock(),
        )
        lines = [_INTRODUCTION]
        services = {
            "a negotiator": negotiator,
            "a composer": composer,
            "a configurator": configurator,
            "an IX-API server": ixapi,
            "a catalog server": catalog,
        }
        for name, registry in ((name, service.registry) for name, service in services.items()):
            lines += [f"## Of {name}", "", *table(("metric", "type", "labels", "meaning"), _rows(registry))]
    finally:
        database.close_now()
    return "\n".join([*lines, _OTHERS, "", _ALERTS, "```yaml", alerts.read_text(encoding="utf-8").rstrip(), "```", ""])


def _rows(registry: CollectorRegistry) -> Iterator[tuple[str, str, str, str]]:
    for name, (metric, labels) in sorted(_metrics(registry).items()):
        full = name + _SUFFIX.get(metric.type, "")
        yield f"`{full}`", metric.type, ", ".join(f"`{label}`" for label in labels), metric.documentation


def _metrics(registry: CollectorRegistry) -> dict[str, tuple[Metric, tuple[str, ...]]]:
    found = {}
    for collector in list(registry._collector_to_names):  # the library shows its collectors to nobody
        for metric in collector.describe() if hasattr(collector, "describe") else ():
            labels = getattr(metric, "_labelnames", None) or getattr(collector, "_labelnames", ())
            if metric.name.startswith(_OWN):
                found[metric.name] = (metric, tuple(labels))
    return found
