"""How the verbs find the local API of this member: `--url`, `--token`, and where they come from otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_URL = "http://127.0.0.1:8471"


def member_directory() -> Path:
    """Where a member's key, certificate, token and roster live: /etc/meetme as root, else the user's own folder."""
    if os.environ.get("MEETME_DIR"):
        return Path(os.environ["MEETME_DIR"])
    if os.geteuid() == 0:
        return Path("/etc/meetme")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "meetme"


def directory_option(command: Callable[P, R]) -> Callable[P, R]:
    """`--dir`, the member's folder."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path),
        envvar="MEETME_DIR",
        help="The member's folder.  [default: /etc/meetme as root, else ~/.config/meetme]",
    )(command)


def api_options(command: Callable[P, R]) -> Callable[P, R]:
    """`--url` and `--token`, the same for every verb that asks a running negotiator."""
    url = click.option(
        "--url", envvar="MEETME_URL", default=DEFAULT_URL, show_default=True, help="The negotiator's local API."
    )
    token = click.option(
        "--token",
        envvar="MEETME_TOKEN",
        help="The local API's token.  [default: the file token in the member's folder]",
    )
    return url(token(command))


def read_token(given: str | None) -> str | None:
    """The token given, else that of the member's folder, else none."""
    if given:
        return given
    path = member_directory() / "token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
