"""Mutual TLS 1.3 between members: each trusts the certificates it knows, and nothing else on earth.

What is known can change while a server runs (`meetme peer add`, `peer remove`): every handshake uses the roster of that
moment, and every request checks again whose key the connection was made with.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable

from meetme.model.errors import Unauthenticated, Unreachable
from meetme.model.members import Member, Roster
from meetme.runtime.identity import Identity, pin_of

FETCH_SECONDS = 5.0
_REMEMBERED_PINS = 1024


class Trust:
    """Our identity, and whom we know right now."""

    def __init__(self, identity: Identity, roster: Callable[[], Roster]) -> None:
        self.identity = identity
        self._roster = roster
        self._pins: dict[bytes, str] = {}

    @property
    def roster(self) -> Roster:
        """Who is known at this moment."""
        return self._roster()

    def server_context(self) -> ssl.SSLContext:
        """For a listener: whoever shows no certificate, or one that is not known at that moment, is cut off."""
        current: tuple[Roster, ssl.SSLContext] | None = None

        def fresh(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            nonlocal current
            roster = self.roster
            if current is None or current[0] is not roster:
                current = roster, self._server_context(roster)
            connection.context = current[1]

        context = self._server_context(Roster())
        context.sni_callback = fresh
        return context

    def _server_context(self, roster: Roster) -> ssl.SSLContext:
        certificates = tuple(pem for member in roster.members for pem in member.certificates)
        return _context(ssl.PROTOCOL_TLS_SERVER, self.identity, certificates)

    def client_context(self, member: Member) -> ssl.SSLContext:
        """For connections to one member: its own certificates and no other's will do, whatever the host is called."""
        return _context(ssl.PROTOCOL_TLS_CLIENT, self.identity, member.certificates)

    def presented_by(self, certificate: bytes | None) -> Member:
        """Whose certificate (PEM or DER) this is, as of now. Raises Unauthenticated `certificate_unknown`."""
        if certificate is not None:
            pin = self._pins.get(certificate)
            if pin is None:
                pin = pin_of(certificate)
                if len(self._pins) >= _REMEMBERED_PINS:
                    self._pins.clear()
                self._pins[certificate] = pin
            member = self.roster.of_pin(pin)
            if member is not None:
                return member
        raise Unauthenticated(
            "certificate_unknown",
            "certificate: must be that of a member of the roster",
            hint="the two members exchange certificates with meetme peer add",
        )


def _context(
    protocol: ssl._SSLMethod,
    identity: Identity | None,
    trusted: tuple[bytes, ...],
    *,
    verify: ssl.VerifyMode = ssl.CERT_REQUIRED,
) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    if identity is not None:
        # The standard library reads keys from files only. One in memory is not left behind by who is killed here.
        with os.fdopen(os.memfd_create("meetme-identity", os.MFD_CLOEXEC), "wb") as file:
            file.write(identity.key + identity.certificate)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a resumed session would show no certificate to check
    else:
        context.check_hostname = False  # the key says who it is, not the name of a host
    context.verify_mode = verify
    if trusted:
        context.load_verify_locations(cadata=b"".join(trusted).decode("ascii"))
    return context


def optional_server_context(identity: Identity, known: tuple[bytes, ...]) -> ssl.SSLContext:
    """For a listener where a client may show a certificate or none; one that is not among `known` is cut off."""
    return _context(ssl.PROTOCOL_TLS_SERVER, identity, known, verify=ssl.CERT_OPTIONAL)


def pinned_client_context(server: bytes, identity: Identity | None) -> ssl.SSLContext:
    """For connections to whoever has the key of the certificate `server` (PEM), as `identity` or as nobody."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, identity, (server,))


async def fetch_certificate(host: str, port: int, *, seconds: float = FETCH_SECONDS) -> bytes:
    """The certificate (PEM) that a server shows, unverified: for a person to compare its fingerprint. Sends nothing.

    Raises Unreachable `peer_unreachable`, `peer_timeout` or `peer_speaks_no_tls`.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(seconds):
            _reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except TimeoutError:
        raise Unreachable("peer_timeout", f"peer: must answer within {seconds:g} s ('{where}')") from None
    except ssl.SSLError as error:
        raise Unreachable(
            "peer_speaks_no_tls",
            f"peer: must speak TLS 1.3 ('{where}': {error.reason or error})",
            hint="is this the address of --listen-peers?",
        ) from None
    except OSError as error:
        raise Unreachable(
            "peer_unreachable",
            f"peer: must accept connections ('{where}': {error.strerror or error})",
            hint="is it running, and does a firewall let us through?",
        ) from None
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return ssl.DER_cert_to_PEM_cert(certificate).encode("ascii")


async def refuses_us(host: str, port: int, context: ssl.SSLContext, *, seconds: float = 1.0) -> bool:
    """Whether a server that has just hung up does not know our certificate: connects again and only listens.

    In TLS 1.3 a client is through with the handshake before the server has looked at its certificate. A server that
    refuses it then hangs up at once, with an alert (some send none); one that knows us waits for our request.
    """
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(1) == b""
    except TimeoutError:
        return False
    except OSError:  # an alert, or a reset
        return True
    finally:
        writer.transport.abort()
