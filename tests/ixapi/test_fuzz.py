"""Whatever is sent to the IX-API server is answered, never with a fault of its own: made from the published schema."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from meetme.runtime.database import Database
from tests.ixapi.market import open_market, schema_path
from tests.ixapi.published import Published

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=200),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


REAL = {
    "network-services": {
        "type": "p2p_vc",
        "managing_account": "fed",
        "consuming_account": "csp-a",
        "billing_account": "fed",
        "joining_member_account": "csp-b",
        "product_offering": "p2p",
        "capacity": 5,
    }
}
"""What an order has to say that it is accepted."""


@dataclass
class Served:
    """An exchange in a thread of its own, with a service in it."""

    url: str = ""
    token: str = ""
    ids: dict[str, list[str]] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event)
    done: asyncio.Event | None = None
    loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        self.loop, self.done = asyncio.get_running_loop(), asyncio.Event()
        database = Database.open("sqlite://")
        async with open_market(database) as market:
            services = [await market.fed.order("a1", "b2", f"f{n}#1", capacity=5) for n in range(3)]
            self.ids["network-services"] = [service["id"] for service in services]
            configs = await market.fed.get("network-service-configs")
            self.ids["network-service-configs"] = [config["id"] for config in configs]
            self.url = f"{market.service.url}/api/v2"
            self.token = market.fed.http.headers["authorization"]
            self.ready.set()
            await self.done.wait()
        await database.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    found = Served()
    thread = threading.Thread(target=lambda: asyncio.run(found.run()))
    thread.start()
    assert found.ready.wait(30)
    yield found
    assert found.loop is not None
    assert found.done is not None
    found.loop.call_soon_threadsafe(found.done.set)
    thread.join(30)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_request_makes_it_fail(served: Served) -> None:
    document = json.loads(schema_path().read_text())
    published = Published(document)
    supported = httpx2.get(f"{served.url}/implementation").json()["supported_operations"]
    schema = schemathesis.openapi.from_dict(document)
    seen: dict[int, int] = {}
    with httpx2.Client(verify=False, timeout=30, headers={"authorization": served.token}) as http:
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.definition.raw["operationId"] not in supported:
                continue
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                try:
                    strategy = operation.as_strategy(generation_mode=mode)
                except Exception:  # nothing of it can be made wrong
                    continue
                _ask(served, http, published, operation, strategy, seen)
    assert seen.keys() >= {200, 201, 202, 400, 401, 404}, seen
    assert max(seen) < 500, seen


def _ask(
    served: Served, http: httpx2.Client, published: Published, operation: Any, strategy: Any, seen: dict[int, int]
) -> None:
    collection = operation.path.split("/")[1]

    @given(case=strategy, real=st.booleans(), broken=st.booleans(), data=st.data())
    @settings(
        max_examples=25, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    def ask(case: Any, real: bool, broken: bool, data: st.DataObject) -> None:
        path = operation.path
        if "{" in path:
            ids = served.ids.get(collection, ["x"])
            id = data.draw(st.sampled_from(ids)) if real else str(data.draw(st.text(min_size=1, max_size=20)))
            for name in ("id", "assignment_id"):
                path = path.replace(f"{{{name}}}", quote(id.encode("utf-8", "replace"), safe=""))
        body = case.body if isinstance(case.body, dict | list) else None
        if isinstance(body, dict) and real and operation.method == "post":
            body = {**body, **REAL.get(collection, {})}
        if isinstance(body, dict) and broken and body:
            body = {**body, data.draw(st.sampled_from(sorted(body))): data.draw(ODD)}
        query = {str(k): str(v).encode("utf-8", "replace").decode() for k, v in (case.query or {}).items()}
        content = json.dumps(body).encode("utf-8", "surrogatepass") if body is not None else None
        answer = http.request(operation.method.upper(), served.url + path, params=query, content=content)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, (operation.method, path, query, body, answer.text)
        if answer.status_code < 300:
            published.check(operation.method, operation.path, answer.status_code, answer.json())
        else:
            assert answer.json()["status"] == answer.status_code

    ask()
