"""The negotiator's local API against its own description: whatever fits the schema, or does not, is never a 500."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import schemathesis
import structlog
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.negotiator.pair import TOKEN, pair

HEADERS = {"authorization": f"Bearer {TOKEN}"}
PATHS = {
    "POST /api/v1/start_negotiation",
    "GET /api/v1/negotiations",
    "GET /api/v1/negotiations/{id}",
    "PATCH /api/v1/negotiations/{id}",
    "DELETE /api/v1/negotiations/{id}",
    "POST /api/v1/negotiations/{id}/release",
    "GET /api/v1/negotiations/{id}/events",
    "GET /api/v1/agreements/{id}",
    "GET /api/v1/attachments",
    "GET /api/v1/attachments/{circuit}",
    "PUT /api/v1/attachments/{circuit}",
    "DELETE /api/v1/attachments/{circuit}",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
}


@contextmanager
def quiet() -> Iterator[None]:
    """Some thousand requests need no line each."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.reset_defaults()


def fuzz(url: str, examples: int) -> dict[str, set[int]]:
    """Send requests made from the schema, and wrong ones; the status codes seen, by operation."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    seen: dict[str, set[int]] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        name = f"{operation.method.upper()} {operation.path}"
        statuses = seen.setdefault(name, set())
        good = operation.as_strategy()
        bad = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

        def ask(case, known) -> None:
            if known and isinstance(case.body, dict) and "peer" in case.body:
                case.body["peer"] = "csp-b"
            response = case.call(headers=HEADERS, timeout=20)
            statuses.add(response.status_code)  # noqa: B023 - called before the next round
            assert response.status_code != 500, f"{name}: {response.text}"  # noqa: B023
            if response.status_code >= 400:
                document = json.loads(response.text)
                assert document["type"].startswith("urn:meetme:problem:"), response.text
                assert document["detail"]

        ask = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(case=good | bad, known=st.booleans())(ask))
        try:
            ask()
        except Exception as error:
            if "cannot be negated" not in str(error).lower() and "unsatisfiable" not in type(error).__name__.lower():
                raise
    return seen


@pytest.mark.parametrize("examples", [15, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_no_request_is_a_500(examples: int) -> None:
    with quiet():
        async with pair() as (a, b):
            seen = await asyncio.to_thread(fuzz, a.service.local_url, examples)
            assert seen.keys() >= PATHS
            assert seen["GET /api/v1/negotiations"] >= {200}
            assert 422 in seen["POST /api/v1/start_negotiation"]
            # Still in good health after all that.
            assert await a.client.negotiations() is not None
            assert await b.client.negotiations() is not None
