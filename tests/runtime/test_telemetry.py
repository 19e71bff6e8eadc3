"""Logs that belong together, and that keep secrets."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import pytest
import structlog

from meetme.runtime.correlation import correlated, correlation
from meetme.runtime.telemetry import LogFormat, Registry, configure_logging


@pytest.fixture(autouse=True)
def _restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_a_line_is_json_with_the_id_of_what_it_belongs_to() -> None:
    out = io.StringIO()
    configure_logging(LogFormat.JSON, stream=out)
    log = structlog.get_logger()
    with correlated("r1", negotiation="n1") as id:
        assert correlation() == id == "r1"
        log.info("proposed", peer="b")
        log.debug("not shown")
    assert correlation() is None
    log.warning("outside")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("failed")
    first, second, third = map(json.loads, out.getvalue().splitlines())
    assert (first["event"], first["request"], first["negotiation"], first["peer"], first["level"]) == (
        "proposed", "r1", "n1", "b", "info",
    )  # fmt: skip
    assert first["timestamp"].endswith("Z")
    assert "request" not in second
    assert "ValueError: why" in third["exception"]


def test_libraries_write_into_the_same_log() -> None:
    out = io.StringIO()
    configure_logging(LogFormat.JSON, stream=out)
    logging.getLogger("some.library").warning("careful with %s", "that")
    logging.getLogger("some.library").info("chatter")
    (line,) = map(json.loads, out.getvalue().splitlines())
    assert (line["event"], line["level"]) == ("careful with that", "warning")


def test_a_person_gets_lines_to_read() -> None:
    out = io.StringIO()
    configure_logging(LogFormat.CONSOLE, level="debug", stream=out)
    structlog.get_logger().debug("hello", peer="b")
    assert "hello" in out.getvalue()
    assert "\x1b" not in out.getvalue(), "no colours where there is no terminal"


@pytest.mark.parametrize("format", list(LogFormat))
def test_a_traceback_shows_no_values(format: LogFormat) -> None:
    out = io.StringIO()
    configure_logging(format, stream=out)
    secret = "".join(["pass", "word"])
    try:
        raise ValueError(len(secret))
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("some.library").exception("failed")
    assert out.getvalue().count("ValueError: 8") == 2
    assert "password" not in out.getvalue()


def test_a_registry_is_never_shared() -> None:
    first, second = Registry(), Registry()
    assert first is not second
    assert first.get_sample_value("process_start_time_seconds") is not None


def test_importing_configures_nothing() -> None:
    code = "import logging, meetme.runtime.telemetry; print(logging.getLogger().handlers)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
