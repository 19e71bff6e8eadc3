"""What the negotiator counts for /metrics."""

from __future__ import annotations

import re

import httpx2

from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .pair import pair


async def figures(url: str) -> dict[str, float]:
    async with httpx2.AsyncClient() as client:
        answer = await client.get(f"{url}/metrics")
        assert answer.status_code == 200
        assert (await client.get(f"{url}/api/v1/negotiations")).status_code in (401, 404)
    lines = re.findall(r"^(meetme_\S+) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


async def test_what_stands_what_is_owed_and_how_long_it_took() -> None:
    async with pair(a={"listen_metrics": "127.0.0.1:0"}) as (a, b):
        url = a.service.metrics_url
        assert url is not None
        before = await figures(url)
        assert before['meetme_negotiations{state="active"}'] == 0
        assert before["meetme_negotiation_active_seconds_count"] == 0
        started = await a.client.start(StartRequest("csp-b"))
        mine = await a.until(started.id, State.ACTIVE)
        await b.until(mine.id, State.ACTIVE)
        for where in (url, a.service.local_url):
            after = await figures(where)
            assert after['meetme_negotiations{state="active"}'] == 1
            assert after['meetme_negotiations{state="proposed"}'] == 0
            assert after["meetme_negotiation_active_seconds_count"] == 1
            assert 0 < after["meetme_negotiation_active_seconds_sum"] < 15
            assert after['meetme_effects_owed{kind="wake"}'] == 0, "what is active owes nothing"
        theirs = await figures(b.service.local_url)
        handled = 'meetme_http_request_seconds_count{method="POST",route="/api/v1/handle_negotiation",status="200"}'
        assert theirs[handled] >= 3
        assert b.service.metrics_url is None
        assert theirs["meetme_negotiation_active_seconds_count"] == 1
