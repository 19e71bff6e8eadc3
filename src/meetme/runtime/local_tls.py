"""A local API beyond loopback: TLS 1.3 with the member's own certificate, and clients that show one of theirs.

Certificates are pinned, as everywhere: whoever has the key of one that is named in the settings is let in, within its
scope; there is no authority that could vouch for another one.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

import httpx2

from meetme.model.errors import Fault, InvalidInput, Unauthenticated, Unreachable
from meetme.runtime.identity import Identity, fingerprint, pin_of, read_certificates
from meetme.runtime.tls import fetch_certificate, optional_server_context, pinned_client_context, refuses_us
from meetme.runtime.tokens import Scope


class LocalClients:
    """The certificates that open a local API. Known by their public keys, good for a scope each."""

    def __init__(self, known: Iterable[tuple[bytes, Scope]] = ()) -> None:
        """`known`: certificates (PEM). Raises InvalidInput `certificate_malformed`, `local_client_twice`."""
        listed = tuple(known)
        self.certificates = tuple(certificate for certificate, _ in listed)
        self._scopes: dict[str, Scope] = {}
        for certificate, scope in listed:
            if self._scopes.setdefault(pin := pin_of(certificate), scope) is not scope:
                raise InvalidInput(
                    "local_client_twice",
                    f"local_readers: must not be among the local clients too ({fingerprint(pin)})",
                    hint="who may change something may read anyway",
                    field="local_readers",
                )

    @classmethod
    def read(cls, *, clients: Iterable[Path], readers: Iterable[Path]) -> LocalClients:
        """From PEM files: `clients` may do anything, `readers` may read.

        Raises NotFound `certificate_missing`, InvalidInput `certificate_malformed`, `local_client_twice`.
        """
        lists = (("local_clients", clients, Scope.WRITE), ("local_readers", readers, Scope.READ))
        return cls(
            (pem, scope)
            for field, paths, scope in lists
            for path in paths
            for pem in read_certificates(path, field=field)
        )

    def scope_of(self, certificate: bytes | None) -> Scope | None:
        """What a connection made with `certificate` (PEM) is good for; None: with none, or one that nobody knows."""
        return self._scopes.get(pin_of(certificate)) if certificate is not None else None

    def server_context(self, identity: Identity) -> ssl.SSLContext:
        """For a local listener. A client may show a certificate; one that is not known is cut off in the handshake."""
        return optional_server_context(identity, self.certificates)


class PinnedTransport(httpx2.AsyncBaseTransport):
    """HTTPS to a local API whose public key is known, whatever its certificate and its host are called.

    The first request asks the server for its certificate and compares the key; until then nothing is said. Raises
    Unauthenticated `server_key_unknown`, `client_certificate_refused`, Unreachable `server_unreachable`.
    """

    def __init__(self, pin: str, identity: Identity | None = None) -> None:
        """`pin`: `sha256:` and 64 hex digits. `identity`: who to show ourselves as; None: as nobody."""
        self._pin = pin
        self._identity = identity
        self._inner: httpx2.AsyncHTTPTransport | None = None
        self._context: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request."""
        host, port = request.url.host, request.url.port or 443
        if self._inner is None or self._context is None:
            self._context = await self._compared(host, port)
            self._inner = httpx2.AsyncHTTPTransport(verify=self._context)
        try:
            return await self._inner.handle_async_request(request)
        except (httpx2.TransportError, ssl.SSLError):
            if self._identity is not None and await refuses_us(host, port, self._context):
                raise Unauthenticated(
                    "client_certificate_refused",
                    f"certificate: must be one that the service knows ({fingerprint(self._identity.pin)})",
                    hint="name it in local_clients or local_readers there, and see that it has not expired",
                    field="certificate",
                ) from None
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        if self._inner is not None:
            await self._inner.aclose()

    async def _compared(self, host: str, port: int) -> ssl.SSLContext:
        try:
            shown = await fetch_certificate(host, port)
        except Unreachable as error:
            raise Unreachable(
                "server_unreachable",
                f"url: must be that of a service that speaks TLS 1.3 ('https://{host}:{port}': {error.text})",
                hint="on loopback a local API speaks http",
                field="url",
                fault=Fault.LOCAL,
            ) from None
        if pin_of(shown) != self._pin:
            raise Unauthenticated(
                "server_key_unknown",
                f"server_pin: must be that of the service ('{host}:{port}' shows {fingerprint(pin_of(shown))})",
                hint="meetme identity show --format json says it there; is it another, something stands in between",
                field="server_pin",
            )
        return pinned_client_context(shown, self._identity)
