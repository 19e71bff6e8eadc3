"""The catalog's local API against its own description: whatever fits the schema, or does not, is never a 500."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meetme.catalog import logbook
from tests.catalog.crowd import SharedWorld, crowd
from tests.contract.test_negotiator_api import fuzz, quiet


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_no_request_is_a_500(tmp_path: Path) -> None:
    with quiet():
        async with crowd(tmp_path, SharedWorld(), ("csp-a", "csp-b")) as members:
            a = members["csp-a"][0]
            await a.client.place("csp-b/page")
            seen = await asyncio.to_thread(fuzz, a.service.local_url, 60)
            assert {"POST /api/v1/orders", "GET /api/v1/offers", "DELETE /api/v1/orders/{id}"} <= seen.keys()
            assert 404 in seen["DELETE /api/v1/orders/{id}"]
            assert a.service.alive()
            assert a.database.run_now(logbook.verify_audit) is None
