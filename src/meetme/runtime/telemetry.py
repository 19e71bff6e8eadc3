"""What an operator sees of a running service: logs on stderr, which `runtime.correlation` binds together, and metrics.

Nothing here happens at import. A program calls `configure_logging` once; each service gets a registry of its own.
"""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import TextIO

import structlog
from prometheus_client import CollectorRegistry, GCCollector, Histogram, PlatformCollector, ProcessCollector
from structlog.typing import Processor

from meetme.runtime.figures import tell_build


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


def configure_logging(format: LogFormat, *, level: str = "info", stream: TextIO | None = None) -> None:
    """Send the logs of this process, and of the libraries it uses, to stderr. To be called once, by a program."""
    number = logging.getLevelNamesMapping()[level.upper()]
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = structlog.processors.JSONRenderer()
    if format is LogFormat.CONSOLE:
        # The plain traceback: the pretty one prints local variables, keys and tokens among them.
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    else:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries say at INFO what our own lines say better.
    root.setLevel(max(number, logging.WARNING))


class Registry(CollectorRegistry):
    """The figures of one service: of its process, of its requests, and its own. Not the library's global one."""

    def __init__(self, service: str = "meetme") -> None:
        super().__init__()
        tell_build(self, service)
        ProcessCollector(registry=self)
        PlatformCollector(registry=self)
        GCCollector(registry=self)
        self.request_seconds = Histogram(
            "meetme_http_request_seconds",
            "Time from request to answer.",
            ("method", "route", "status"),
            registry=self,
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
        )
        """Of every app of the service."""
