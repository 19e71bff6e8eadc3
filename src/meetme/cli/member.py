"""How the verbs find the local API of this member and get in: `--url`, `--token`, a certificate, and their defaults."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from meetme.negotiator.client import NegotiatorClient
    from meetme.runtime.api_client import ApiClient
    from meetme.runtime.local_tls import PinnedTransport

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound="ApiClient")

DEFAULT_URL = "http://127.0.0.1:8471"
CATALOG_URL = "http://127.0.0.1:8472"
COMPOSER_URL = "http://127.0.0.1:8473"


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


@dataclass(frozen=True, slots=True)
class LocalApi:
    """Where the local API of a service is, and what opens it."""

    url: str = DEFAULT_URL
    token: str | None = None
    certificate: Path | None = None
    """Of a client: over TLS, instead of a token."""
    certificate_key: Path | None = None
    """Of that certificate; left out, `key.pem` beside it."""
    server_pin: str | None = None
    """`sha256:...` of the service's own key; left out, that of `certificate.pem` in the member's folder."""

    def client(self) -> NegotiatorClient:
        """Who asks the negotiator there. Raises what `transport` raises."""
        from meetme.negotiator.client import NegotiatorClient

        return self.reach(NegotiatorClient)

    def of(self, service: str) -> ApiClient:
        """Who asks that service, at its own default where no URL was given."""
        there = self.at(service)
        if service == "catalog":
            from meetme.catalog.client import CatalogClient

            return there.reach(CatalogClient)
        if service == "composer":
            from meetme.composer.client import ComposerClient

            return there.reach(ComposerClient)
        return self.client()

    def at(self, service: str) -> LocalApi:
        """The same for that service: at its own default where no URL was given."""
        default = {"composer": COMPOSER_URL, "catalog": CATALOG_URL}.get(service, DEFAULT_URL)
        return self if self.url != DEFAULT_URL else replace(self, url=default)

    def reach(self, client: type[C]) -> C:
        """The same for the client of any service."""
        return client(self.url, self.bearer(), transport=self.transport())

    def bearer(self) -> str | None:
        """The token given, else that of the member's folder unless a certificate takes its place."""
        return self.token or (None if self.certificate is not None else read_token(None))

    def transport(self) -> PinnedTransport | None:
        """How an `https` URL is reached; None: in the clear, as on loopback.

        Raises InvalidInput `certificate_needs_tls`, `server_pin_missing`, `server_pin_malformed`, and what
        `load_identity` raises.
        """
        from meetme.model.errors import InvalidInput
        from meetme.runtime.identity import load_identity
        from meetme.runtime.local_tls import PinnedTransport

        if not self.url.startswith("https://"):
            if self.certificate is None:
                return None
            raise InvalidInput(
                "certificate_needs_tls",
                f"certificate: must be shown over TLS ('{self.url}')",
                hint="on loopback use a token, or let the service listen at https://HOST:PORT",
                field="certificate",
            )
        identity = None
        if self.certificate is not None:
            key = self.certificate_key or self.certificate.with_name("key.pem")
            identity = load_identity(key=key, certificate=self.certificate)
        return PinnedTransport(self._pin(), identity)

    def _pin(self) -> str:
        import re

        from meetme.model.errors import InvalidInput
        from meetme.runtime.identity import pin_of

        if self.server_pin is not None:
            if re.fullmatch("sha256:[0-9a-f]{64}", self.server_pin):
                return self.server_pin
            text = f"server_pin: must be 'sha256:' and 64 hex digits ('{self.server_pin}')"
            raise InvalidInput("server_pin_malformed", text, hint="as meetme identity show says it", field="server_pin")
        try:
            return pin_of((member_directory() / "certificate.pem").read_bytes())
        except OSError:
            raise InvalidInput(
                "server_pin_missing",
                f"server_pin: must be given ('{self.url}' could be anybody)",
                hint="--server-pin sha256:..., as meetme identity show says it there",
                field="server_pin",
            ) from None


API_OPTIONS = tuple(declared.name for declared in fields(LocalApi))
"""What the options are called that say it."""


def service_option(command: Callable[P, R]) -> Callable[P, R]:
    """`--service`: which of a member's services is asked."""
    return click.option(
        "--service",
        type=click.Choice(["negotiator", "composer", "catalog"]),
        default="negotiator",
        show_default=True,
        help=f"Whom to ask; without --url, the composer at {COMPOSER_URL}, the catalog at {CATALOG_URL}.",
    )(command)


def api_options(command: Callable[P, R]) -> Callable[P, R]:
    """`--url`, `--token` and what TLS needs, the same for every verb that asks a running negotiator: `api`."""
    return api_options_of(DEFAULT_URL, "The negotiator's local API.")(command)


def api_options_of(default: str, help: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The same for the verbs of another service, which listens at `default`."""
    path = click.Path(path_type=Path)
    options = (
        click.option("--url", envvar="MEETME_URL", default=default, show_default=True, help=help),
        click.option(
            "--token",
            envvar="MEETME_TOKEN",
            help="The local API's token.  [default: the file token in the member's folder]",
        ),
        click.option(
            "--certificate",
            type=path,
            envvar="MEETME_CERTIFICATE",
            help="Client certificate, where the URL is https: opens the local API instead of a token.",
        ),
        click.option(
            "--certificate-key",
            type=path,
            envvar="MEETME_CERTIFICATE_KEY",
            help="Of --certificate.  [default: key.pem beside it]",
        ),
        click.option(
            "--server-pin",
            envvar="MEETME_SERVER_PIN",
            help="Key of the service, where the URL is https.  [default: that of the member's folder]",
        ),
    )

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @wraps(command)
        def gathered(*args: Any, **given: Any) -> R:
            return command(*args, api=LocalApi(**{name: given.pop(name) for name in API_OPTIONS}), **given)  # type: ignore[arg-type]

        for option in reversed(options):
            gathered = option(gathered)
        return gathered

    return decorate


def read_token(given: str | None) -> str | None:
    """The token given, else that of the member's folder, else none."""
    if given:
        return given
    path = member_directory() / "token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
