"""gRPC: the one mapping between our errors and its status, and how servers and channels are built.

The facts of an error travel as JSON in the trailing metadata `meetme-problem-bin`, so that the caller raises the very
error that the other side raised. In the clear is for loopback and unix sockets; everything else is mutual TLS in which
each side trusts the certificates it pinned and nothing else.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError

from meetme.model import errors
from meetme.model.errors import DeviceFailed, Fault, InvalidInput, MeetMeError, Unauthenticated, Unreachable
from meetme.runtime.correlation import incoming, negotiation, outgoing, traceparent
from meetme.runtime.tracing import Kind, Tracer

PROBLEM_KEY = "meetme-problem-bin"
OUR_METHODS = "/meetme."
TLS_VERSION = b"TLSv1.3"
MAX_REQUEST = 1 << 20
"""Octets. Some thousand prefixes a side fit."""
MAX_REPLY = 64 << 20
"""Octets. An observation carries the router's whole main tables."""

STATUS: dict[type[MeetMeError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.TooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Conflict: grpc.StatusCode.ALREADY_EXISTS,
    errors.Refused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Stale: grpc.StatusCode.ABORTED,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unreachable: grpc.StatusCode.UNAVAILABLE,
    errors.Pending: grpc.StatusCode.UNAVAILABLE,
    errors.DeviceFailed: grpc.StatusCode.INTERNAL,
}

_CLASSES = {cls.__name__: cls for cls in STATUS}

Facts = tuple[tuple[str, bytes], ...]


def to_status(error: MeetMeError) -> tuple[grpc.StatusCode, str, Facts]:
    """The status code, the details and the trailing metadata that say `error`."""
    facts = {
        "class": type(error).__name__,
        "code": error.code,
        "text": error.text,
        "hint": error.hint,
        "field": error.field,
        "fault": error.fault.value,
        "existing": error.existing,
    }
    return STATUS.get(type(error), grpc.StatusCode.UNKNOWN), error.text, ((PROBLEM_KEY, json.dumps(facts).encode()),)


def from_status(error: grpc.aio.AioRpcError, *, part: str, target: str) -> MeetMeError:
    """The error that a call to `part` ("configurator") at `target` failed with.

    Without facts in the metadata (another implementation, a broken connection) the status alone decides.
    """
    carried = _carried(error)
    if carried is not None:
        return carried
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unreachable(
            f"{part}_timeout",
            f'{part}: no answer in time ("{target}")',
            hint=f"is the {part} stuck? its log says what it waits for",
        )
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return Unreachable(
            f"{part}_unreachable",
            f'{part}: cannot be reached at "{target}" ({details})',
            hint=f"start the {part} or correct its address; with TLS, each side must know the other's certificate",
        )
    fault = Fault.DEVICE
    cls = next((cls for cls, status in STATUS.items() if status is code), DeviceFailed)
    return cls(f"{part}_{code.name.lower()}", f'{part}: {details or code.name.lower()} ("{target}")', fault=fault)


CALL_SECONDS = 15.0
"""How long a call may take unless its caller says otherwise."""


async def call(method: Callable[..., Awaitable[Any]], request: Any, *, part: str, target: str, seconds: float) -> Any:
    """Call `method`; its reply, or the error that the other side raised, or Unreachable within `seconds`.

    The other side is told what the call is for (`runtime.correlation`).
    """
    try:
        return await method(request, timeout=seconds, metadata=outgoing())
    except grpc.aio.AioRpcError as error:
        raise from_status(error, part=part, target=target) from None


def _carried(error: grpc.aio.AioRpcError) -> MeetMeError | None:
    for key, value in error.trailing_metadata() or ():
        if key == PROBLEM_KEY:
            try:
                facts = json.loads(value)
                cls = _CLASSES[facts["class"]]
                return cls(
                    str(facts["code"]),
                    str(facts["text"]),
                    hint=str(facts["hint"]),
                    field=facts["field"],
                    fault=Fault(facts["fault"]),
                    existing=facts.get("existing"),
                )
            except (ValueError, KeyError, TypeError):
                return None
    return None


@dataclass(frozen=True, slots=True)
class Tls:
    """One end's key and certificate, and the pinned certificates of those it talks to: all PEM."""

    key: bytes
    certificate: bytes
    peers: tuple[bytes, ...]
    name: str | None = None
    """For a client: the member or service id that the server's certificate must say. None: the host of the target."""


class Guard(grpc.aio.ServerInterceptor):
    """Around every call of ours: bytes that are no message, errors of ours, and errors of nobody become a status.

    With `pinned` (digests) a caller's certificate must be one of the pinned themselves: a pinned key vouches for no
    other.
    """

    def __init__(self, pinned: Callable[[], frozenset[str]] | None = None, *, tracer: Tracer | None = None) -> None:
        self._pinned = pinned
        self._tracer = tracer

    @classmethod
    def pinning(cls, certificates: Callable[[], Iterable[bytes]], *, tracer: Tracer | None = None) -> Guard:
        """A guard that lets in the holders of these certificates (PEM), asked for at every call."""
        return cls(lambda: frozenset(_digest(pem) for pem in certificates()), tracer=tracer)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of the method that was called."""
        handler: Any = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or not method.startswith(OUR_METHODS):
            return handler
        read = handler.request_deserializer
        if handler.unary_unary is not None:

            async def unary(data: bytes, context: Any) -> Any:
                with incoming(context.invocation_metadata() or ()):
                    try:
                        self._admit(context)
                        with self._span(method):
                            return await handler.unary_unary(_parse(read, data, method), context)
                    except Exception as error:
                        await _abort(context, method, error)

            return handler._replace(request_deserializer=None, unary_unary=unary)

        async def stream(data: bytes, context: Any) -> AsyncIterator[Any]:
            try:
                self._admit(context)
                async for reply in handler.unary_stream(_parse(read, data, method), context):
                    yield reply
            except Exception as error:
                await _abort(context, method, error)

        return handler._replace(request_deserializer=None, unary_stream=stream)

    def _span(self, method: str) -> AbstractContextManager[None]:
        """Of a call that belongs to a span of its caller; what nobody follows is not worth one."""
        parent = traceparent()
        if self._tracer is None or parent is None:
            return nullcontext()
        return self._tracer.span(method.removeprefix("/"), Kind.SERVER, parent=parent, negotiation=negotiation())

    def _admit(self, context: Any) -> None:
        if self._pinned is None:
            return
        connection = context.auth_context()
        # gRPC for Python offers no way to refuse an older version during the handshake.
        if connection.get("ssl_tls_version", [TLS_VERSION]) != [TLS_VERSION]:
            raise Unauthenticated(
                "tls_version_old",
                "connection: must be TLS 1.3",
                hint="update the TLS library of the caller",
            )
        shown = connection.get("x509_pem_cert", [])
        if not shown or _digest(shown[0]) not in self._pinned():
            raise Unauthenticated(
                "certificate_unknown",
                "certificate: is not one of the pinned ones",
                hint="add the caller's certificate to the configurator's clients",
            )


def _parse(read: Callable[[bytes], Any], data: bytes, method: str) -> Any:
    try:
        return read(data)
    except DecodeError:
        raise InvalidInput(
            "message_malformed",
            f'request: is no message of "{method}" ({len(data)} octets)',
            field="request",
            hint="generate the client from the same .proto",
        ) from None


async def _abort(context: Any, method: str, error: Exception) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, MeetMeError):
        if isinstance(error, NotImplementedError):
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "method not implemented")
        structlog.get_logger().error("call failed unexpectedly", method=method, exc_info=error)
        error = DeviceFailed(
            "internal_error",
            f'"{method}": failed unexpectedly',
            hint="this is a fault of the program; its log has the details",
            fault=Fault.LOCAL,
        )
    code, details, facts = to_status(error)
    await context.abort(code, details, facts)
    raise AssertionError("abort returned")


def _digest(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER).hex()


def in_the_clear(address: str) -> bool:
    """Whether `address` (`HOST:PORT` or `unix:PATH`) never leaves the machine, so that no TLS is needed."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _need_tls(address: str, field: str) -> None:
    if not in_the_clear(address):
        raise InvalidInput(
            "tls_required",
            f'{field}: needs a key and pinned certificates beyond loopback ("{address}")',
            field=field,
            hint="give an identity and the other side's certificate, or use 127.0.0.1, [::1] or unix:PATH",
        )


def build_server(tls: Callable[[], Tls] | None = None, tracer: Tracer | None = None) -> grpc.aio.Server:
    """A server whose calls pass the Guard. `tls` is asked again on every handshake, so certificates can change."""
    guard = Guard(tracer=tracer) if tls is None else Guard.pinning(lambda: tls().peers, tracer=tracer)
    return grpc.aio.server(
        interceptors=[guard],
        options=[
            ("grpc.so_reuseport", 0),  # else two configurators on one port would share its calls, unnoticed
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.max_receive_message_length", MAX_REQUEST),
            ("grpc.max_send_message_length", MAX_REPLY),
        ],
    )


def listen(server: grpc.aio.Server, address: str, tls: Callable[[], Tls] | None = None) -> str:
    """Bind `server` and return the address with the port it got.

    Raises InvalidInput `tls_required`, Conflict `address_in_use`.
    """
    try:
        if tls is None:
            _need_tls(address, "listen")
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, _server_credentials(tls))
    except RuntimeError:
        raise errors.Conflict(
            "address_in_use",
            f'listen: cannot be bound ("{address}")',
            field="listen",
            hint="another program may listen there; choose another address",
        ) from None
    return address if address.startswith("unix") else f"{address.rpartition(':')[0]}:{port}"


def _server_credentials(tls: Callable[[], Tls]) -> grpc.ServerCredentials:
    def configuration(now: Tls) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(now.key, now.certificate)], b"".join(now.peers))

    seen = tls()

    def fetch() -> Any:  # None, which the type stubs forget, keeps the present one
        nonlocal seen
        now = tls()
        if now == seen:
            return None
        seen = now
        return configuration(now)

    return grpc.dynamic_ssl_server_credentials(configuration(seen), fetch, require_client_authentication=True)


def open_channel(target: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """A channel to `target` that reconnects by itself, within 2 s of the other side's return.

    Raises InvalidInput `tls_required`.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", MAX_REPLY),
    ]
    if tls is None:
        _need_tls(target, "configurator")
        return grpc.aio.insecure_channel(target, options=options)
    if tls.name is not None:
        options.append(("grpc.ssl_target_name_override", tls.name))
    credentials = grpc.ssl_channel_credentials(b"".join(tls.peers), tls.key, tls.certificate)
    return grpc.aio.secure_channel(target, credentials, options=options)
