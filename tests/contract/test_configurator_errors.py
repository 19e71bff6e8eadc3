"""The one mapping between our errors and gRPC: as the table in `model.errors` has it, and back without loss."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.model import errors
from meetme.model.errors import DeviceFailed, Fault, MeetMeError, Unauthenticated, Unreachable
from meetme.runtime.grpc import STATUS, Guard, from_status, in_the_clear, to_status
from meetme.runtime.identity import create_identity


def received(code: grpc.StatusCode, details: str, facts: Any = ()) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata(*facts)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details)


def test_the_table_is_what_the_errors_say() -> None:
    rows = re.findall(r"[|`]- (\w+) +\d+ +([A-Z_]+)", errors.__doc__ or "")
    assert dict(rows) == {cls.__name__: status.name for cls, status in STATUS.items()}


@given(
    st.sampled_from(sorted(STATUS, key=lambda cls: cls.__name__)),
    st.text(max_size=30),
    st.text(max_size=30),
    st.none() | st.text(max_size=20),
    st.sampled_from(Fault),
    st.none() | st.text(max_size=20),
)
def test_an_error_crosses_the_wire_whole(
    cls: type[MeetMeError], text: str, hint: str, field: str | None, fault: Fault, existing: str | None
) -> None:
    error = cls("some_code", text, hint=hint, field=field, fault=fault, existing=existing)
    back = from_status(received(*to_status(error)), part="configurator", target="r1")
    assert (type(back), back.problem, back.existing) == (cls, error.problem, existing)


@pytest.mark.parametrize(
    ("status", "cls", "code"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unreachable, "configurator_unreachable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unreachable, "configurator_timeout"),
        (grpc.StatusCode.UNKNOWN, DeviceFailed, "configurator_unknown"),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Unsupported, "configurator_unimplemented"),
    ],
)
def test_a_status_without_our_facts(status: grpc.StatusCode, cls: type[MeetMeError], code: str) -> None:
    back = from_status(received(status, "said another implementation"), part="configurator", target="r1")
    assert (type(back), back.code) == (cls, code)
    assert "r1" in back.text


@pytest.mark.parametrize("facts", [b"", b"[]", b"{}", b'{"class": "Nonsense"}', b"\xff"])
def test_damaged_facts_are_no_facts(facts: bytes) -> None:
    error = received(grpc.StatusCode.ABORTED, "details", (("meetme-problem-bin", facts),))
    assert isinstance(from_status(error, part="configurator", target="r1"), errors.Stale)


@pytest.mark.parametrize(
    ("address", "clear"),
    [
        ("127.0.0.1:8475", True),
        ("127.9.9.9:1", True),
        ("[::1]:8475", True),
        ("localhost:8475", True),
        ("unix:/run/meetme.sock", True),
        ("0.0.0.0:8475", False),
        ("[::]:8475", False),
        ("10.0.0.1:8475", False),
        ("localhost.example:8475", False),
        ("", False),
    ],
)
def test_what_needs_no_tls(address: str, clear: bool) -> None:
    assert in_the_clear(address) is clear


@dataclass
class Call:
    """One call as the guard sees it."""

    connection: dict[str, list[bytes]]
    status: grpc.StatusCode | None = None
    facts: Any = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def auth_context(self) -> dict[str, list[bytes]]:
        return self.connection

    async def abort(self, status: grpc.StatusCode, details: str, facts: Any) -> None:
        self.status, self.facts = status, facts
        raise grpc.aio.AbortError


@pytest.mark.parametrize(
    ("version", "known", "code"),
    [(b"TLSv1.3", True, None), (b"TLSv1.2", True, "tls_version_old"), (b"TLSv1.3", False, "certificate_unknown")],
)
async def test_the_guard_looks_at_version_and_certificate(version: bytes, known: bool, code: str | None) -> None:
    identity, other = create_identity("csp-a"), create_identity("csp-a")
    pinned = (identity if known else other).certificate

    async def reply(request: bytes, context: Any) -> bytes:
        return request

    async def find(details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(reply, request_deserializer=bytes)

    @dataclass
    class Details:
        method: str = "/meetme.configurator.v1.LinkConfigurator/Observe"

    guard = Guard.pinning(lambda: (pinned,))
    handler = await guard.intercept_service(find, Details())  # type: ignore[arg-type]
    call = Call({"ssl_tls_version": [version], "x509_pem_cert": [identity.certificate]})
    if code is None:
        assert await handler.unary_unary(b"hello", call) == b"hello"
        return
    with pytest.raises(grpc.aio.AbortError):
        await handler.unary_unary(b"hello", call)
    assert call.status is STATUS[Unauthenticated]
    assert code.encode() in call.facts[0][1]
