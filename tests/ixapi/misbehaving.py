"""An exchange with an IX-API that misbehaves as it is told to, and keeps the truth of what was ordered.

It is a transport for the client (no sockets, no time but what the requests take), and an ASGI app for a real listener.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

import httpx2

ERRORS = "https://errors.ix-api.net/v2"
GONE = ("decommissioned", "archived", "cancelled")
TODAY = date(2026, 11, 22)
COURSE = ("requested", "allocated", "testing", "production")
KEY, SECRET = "composer-key", "composer-secret"
OWN, MEMBER_A, MEMBER_B = "acc-composer", "acc-a", "acc-b"


class Killed(BaseException):
    """The client was killed at this moment."""


class Trouble(StrEnum):
    """What happens to one request."""

    FAILS = "fails"
    """500, nothing done."""
    FAILS_AFTER = "fails-after"
    """500, and done all the same."""
    DROPS = "drops"
    """The connection is closed, nothing done."""
    DROPS_AFTER = "drops-after"
    LATE = "late"
    """No answer in time, and done a while later."""
    EXPIRED = "expired"
    """401: the token is not good any more."""
    BUSY = "busy"
    """429, with Retry-After."""
    PAGE = "page"
    """A proxy's page with status 200, nothing done."""
    KILLED = "killed"
    """The client dies before it sends the request."""
    KILLED_AFTER = "killed-after"
    """The client dies before it reads the answer."""


@dataclass
class Manners:
    """How it behaves all the time."""

    version: str = "2.1.0"
    looks: int = 2
    """How many requests an object takes for one step of its course."""
    stuck: str | None = None
    """A state in which everything stays."""
    fails: bool = False
    """Whether everything ends in the state error."""
    vlan_other: bool = False
    """Whether it gives a VLAN other than asked."""
    vlan_deaf: bool = False
    """Whether it keeps it so when it is changed."""
    smaller: int | None = None
    """Mbit/s that it gives whatever is asked."""
    smaller_deaf: bool = False
    wants_number: bool = False
    """Whether a VLAN of null is invalid, as before 2.4."""
    loses: int = 0
    """How many configs it loses as soon as they are made."""
    loses_services: int = 0
    refuses_cancel: str | None = None
    """The type of the problem with which every DELETE is refused."""
    notice_days: int = 0
    """How long a notice is; within it DELETE without a date is refused."""
    half_delete: bool = False
    """Whether configs stay when their service goes."""
    configs_first: bool = False
    """Whether a service with configs cannot be cancelled."""
    forgets_reference: bool = False
    page: int | None = None
    """Objects on a page; None: no pages."""
    repeats_pages: bool = False
    page_header: str | None = "X-Page-Token"
    roles: tuple[str, ...] = ()
    charged_days: int = 0
    strange: bool = False
    """Whether it has states, types and fields that nobody knows."""
    ignores_filters: bool = False
    change_requests: bool = True
    deaf: bool = False
    """Whether it answers DELETE with success and does nothing, the first time."""
    token_seconds: float = 3600.0


@dataclass
class Thing:
    """A service or a config."""

    facts: dict[str, Any]
    course: list[str]
    born: int
    said: set[str] = field(default_factory=set)


class Misbehaving:
    """The exchange. `troubles` gives what happens to each further request, in order."""

    def __init__(self, manners: Manners | None = None, now: Callable[[], float] = lambda: 0.0) -> None:
        self.manners = manners or Manners()
        self.now = now
        self.troubles: Iterator[Trouble | None] = iter(())
        self.things: dict[str, Thing] = {}
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.logins = 0
        self.refreshes = 0
        self.tokens: dict[str, float] = {}
        self.speed = {"con-a": 1000, "con-b": 1000, "con-nni": 10_000, "con-port": 1000}
        self.offerings = [
            {"id": "po-1", "bandwidth_min": 1, "bandwidth_max": 1000},
            {"id": "po-2", "bandwidth_min": 1001, "bandwidth_max": 10_000},
        ]
        self._later: list[tuple[int, Callable[[], object]]] = []
        self._number = 0

    # --- the truth ---------------------------------------------------------------------------------------------------

    def live(self, kind: str = "") -> list[dict[str, Any]]:
        """What is there and was not cancelled: `ns`, `nsc`, or all."""
        self._advance()
        return [
            thing.facts
            for id, thing in self.things.items()
            if thing.facts["state"] not in (*GONE, "decommission_requested")
            and id.startswith(f"{kind}-" if kind else "")
        ]

    def finish(self) -> None:
        """Let everything that is under way come to its end."""
        for _ in range(200):
            self._tick()

    # --- one request -------------------------------------------------------------------------------------------------

    def handle(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request. Raises an httpx2 error or Killed where there is no answer."""
        self.requests.append((method, path))
        self._tick()
        trouble = next(self.troubles, None)
        document = json.loads(body) if body and headers.get("content-type", "").endswith("json") else {}
        if body:
            self.bodies.append(document or dict(parse_qsl(body.decode())))

        def work() -> Answer:
            return self._answer(method, path, query, headers, document)

        match trouble:
            case Trouble.KILLED:
                raise Killed
            case Trouble.FAILS:
                return Answer(500, {"title": "oops"})
            case Trouble.DROPS:
                raise httpx2.ReadError("dropped")
            case Trouble.EXPIRED if not path.startswith("/auth"):
                return self._problem(401, "signature-expired")
            case Trouble.BUSY:
                return Answer(429, {"title": "slow down"}, {"retry-after": "1"})
            case Trouble.PAGE:
                return Answer(200, "<html>please log in to the wireless network</html>")
            case Trouble.LATE:
                self._later.append((len(self.requests) + 2, work))
                raise httpx2.ReadTimeout("late")
        answer = work()
        match trouble:
            case Trouble.KILLED_AFTER:
                raise Killed
            case Trouble.FAILS_AFTER:
                return Answer(502, "bad gateway")
            case Trouble.DROPS_AFTER:
                raise httpx2.RemoteProtocolError("dropped")
        return answer

    def _answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: dict[str, Any]
    ) -> Answer:
        if path in ("/auth/token", "/auth/refresh"):
            return self._token(path, body)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, -1.0) <= self.now():
            return self._problem(401, "not-authenticated")
        room, _, rest = path.strip("/").partition("/")
        id, _, more = rest.partition("/")
        match (method, room, id, more):
            case ("GET", "health", "", ""):
                return Answer(200, {"status": "pass", "version": self.manners.version})
            case ("GET", "implementation", "", ""):
                return Answer(200, self._implementation())
            case ("GET", "accounts", "", ""):
                every = [{"id": OWN}, *({"id": id, "managing_account": OWN} for id in (MEMBER_A, MEMBER_B))]
                return self._list(every, query)
            case ("GET", "connections", "", ""):
                return self._list([self._connection(id) for id in self.speed], query)
            case ("GET", "connections", _, "") if id in self.speed:
                return Answer(200, self._connection(id))
            case ("GET", "product-offerings", "", ""):
                return self._list([self._offering(offering) for offering in self.offerings], query)
            case ("GET", "role-assignments", "", ""):
                return self._list(
                    [{"id": f"ra-{r}-{c}", "role": r, "contact": c} for r in ("noc",) for c in "ab"], query
                )
            case ("GET", "contacts", "", ""):
                return self._list([{"id": "a", "consuming_account": MEMBER_A}, {"id": "b"}], query)
            case ("GET", "network-services" | "network-service-configs", "", ""):
                return self._list([t.facts for i, t in self.things.items() if _room(i) == room], query)
            case ("POST", "network-services", "", ""):
                return self._create_service(body)
            case ("POST", "network-service-configs", "", ""):
                return self._create_config(body)
        thing = self.things.get(id)
        if thing is None or _room(id) != room or thing.facts["state"] == "archived":
            return self._problem(404, "not-found")
        match (method, more):
            case ("GET", ""):
                return Answer(200, thing.facts)
            case ("GET", "cancellation-policy"):
                return Answer(200, self._policy())
            case ("PATCH", ""):
                return self._patch(thing, headers, body)
            case ("POST", "change-request") if self.manners.change_requests:
                return self._change(thing, body)
            case ("DELETE", ""):
                return self._delete(thing, body)
        return self._problem(404, "not-found")

    # --- what it does ------------------------------------------------------------------------------------------------

    def _create_service(self, body: dict[str, Any]) -> Answer:
        needed = {"type", "product_offering", "managing_account", "consuming_account", "billing_account"}
        if missing := needed - body.keys():
            return self._invalid(dict.fromkeys(missing, "is required"))
        reference = None if self.manners.forgets_reference else body.get("external_ref")
        facts = {**body, "external_ref": reference, "capacity": self.manners.smaller, "status": []}
        facts["nsc_required_contact_roles"] = list(self.manners.roles)
        thing = self._make("ns", facts)
        if self.manners.loses_services:
            self.manners.loses_services -= 1
            thing.facts["state"] = "archived"
        return Answer(201, thing.facts)

    def _create_config(self, body: dict[str, Any]) -> Answer:
        service, connection = self.things.get(body["network_service"]), body["connection"]
        if service is None or service.facts["state"] in (*GONE, "decommission_requested"):
            return self._invalid({"network_service": "must exist"})
        if connection not in self.speed:
            return self._invalid({"connection": "must exist"})
        if set(body["role_assignments"]) < {f"ra-{role}-a" for role in self.manners.roles}:
            return self._invalid({"role_assignments": {"missing": "somebody for noc"}})
        if connection == "con-port":
            if body["vlan_config"]["vlan_type"] != "port":
                return self._invalid({"vlan_config": {"vlan_type": "this port has no tags"}})
        elif (answer := self._tag(body, connection)) is not None:
            return answer
        used = sum(c["capacity"] or 0 for c in self.live("nsc") if c["connection"] == connection)
        if used + body["capacity"] > self.speed[connection]:
            return self._invalid({"capacity": "does not fit into the connection"})
        facts = {**body, "capacity": self.manners.smaller or body["capacity"], "status": []}
        thing = self._make("nsc", facts)
        if self.manners.loses:
            self.manners.loses -= 1
            thing.facts["state"] = "archived"
        return Answer(201, thing.facts)

    def _tag(self, body: dict[str, Any], connection: str, but: str | None = None) -> Answer | None:
        tagging = body["vlan_config"]
        taken = {
            c["vlan_config"].get("vlan") for c in self.live("nsc") if c["connection"] == connection and c["id"] != but
        }
        if tagging["vlan"] is None:
            if self.manners.wants_number:
                return self._invalid({"vlan_config": [{"name": "vlan", "reason": "may not be null"}]})
            tagging = {**tagging, "vlan": next(vlan for vlan in range(10, 4095) if vlan not in taken)}
        elif self.manners.vlan_other and (but is None or self.manners.vlan_deaf):
            tagging = {**tagging, "vlan": tagging["vlan"] + 1}
        if tagging["vlan"] in taken:
            return self._invalid({"vlan_config": {"vlan": "is taken"}})
        body["vlan_config"] = tagging
        return None

    def _patch(self, thing: Thing, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        if headers.get("content-type") != "application/merge-patch+json":
            return Answer(415, {"title": "merge-patch only"})
        if "vlan_config" in body:
            connection = thing.facts["connection"]
            if connection != "con-port" and (answer := self._tag(body, connection, thing.facts["id"])) is not None:
                return answer
        if "capacity" in body:
            used = sum(
                c["capacity"] or 0
                for c in self.live("nsc")
                if c["connection"] == thing.facts["connection"] and c["id"] != thing.facts["id"]
            )
            if used + (body["capacity"] or 0) > self.speed[thing.facts["connection"]]:
                return self._invalid({"capacity": "does not fit into the connection"})
            if self.manners.smaller is not None and self.manners.smaller_deaf:
                body = {**body, "capacity": self.manners.smaller}
        thing.facts.update(body)
        self._run(thing, ["production_change_pending", "production"])
        return Answer(202, thing.facts)

    def _change(self, thing: Thing, body: dict[str, Any]) -> Answer:
        offering = next(o for o in self.offerings if o["id"] == body["product_offering"])
        if not offering["bandwidth_min"] <= body["capacity"] <= offering["bandwidth_max"]:
            return self._invalid({"capacity": "is not one of the product's"})
        if not (self.manners.smaller is not None and self.manners.smaller_deaf):
            thing.facts.update(body)
        self._run(thing, ["production_change_pending", "production"])
        return Answer(202, body)

    def _delete(self, thing: Thing, body: dict[str, Any]) -> Answer:
        if thing.facts["state"] in GONE:
            return self._problem(404, "not-found")
        if self.manners.refuses_cancel is not None:
            return self._problem(400, self.manners.refuses_cancel)
        mine = [c for c in self.live("nsc") if c["network_service"] == thing.facts["id"]]
        if self.manners.configs_first and mine:
            return self._problem(400, "unable-to-fulfill", detail="it has configs")
        day = date.fromisoformat(body.get("decommission_at", TODAY.isoformat()))
        earliest = TODAY + timedelta(days=self.manners.notice_days)
        if day < earliest:
            return self._problem(400, "cancellation-policy-error", **self._policy())
        if self.manners.deaf and "deaf" not in thing.said:
            thing.said.add("deaf")
            return Answer(202, thing.facts)
        for facts in [thing.facts, *([] if self.manners.half_delete else mine)]:
            if self.manners.notice_days:
                facts.update(decommission_at=day.isoformat())
            else:
                self._run(self.things[facts["id"]], ["decommission_requested", "decommissioned"])
        return Answer(202, thing.facts)

    def _token(self, path: str, body: dict[str, Any]) -> Answer:
        if path == "/auth/refresh":
            if not str(body.get("refresh_token", "")).startswith("refresh"):
                return self._problem(401, "authentication-error")
            self.refreshes += 1
        elif body != {"api_key": KEY, "api_secret": SECRET}:
            return self._problem(401, "authentication-error")
        else:
            self.logins += 1
        life = self.manners.token_seconds
        claims = {"iat": self.now(), "exp": self.now() + life, "n": len(self.tokens)}
        token = f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"
        self.tokens[token] = self.now() + life
        return Answer(201, {"access_token": token, "refresh_token": f"refresh-{len(self.tokens)}"})

    # --- inside ------------------------------------------------------------------------------------------------------

    def _make(self, prefix: str, facts: dict[str, Any]) -> Thing:
        self._number += 1
        id = f"{prefix}-{self._number:04}"
        thing = self.things[id] = Thing({**facts, "id": id, "state": "requested"}, [], 0)
        last = "error" if self.manners.fails else self.manners.stuck
        self._run(thing, [*COURSE[:2], last] if last else list(COURSE))
        if self.manners.strange:
            thing.facts |= {"x_colour": "blue", "charged": {"deep": [1]}, "status": "none at all"}
            self._run(thing, ["polishing", "production"])
        return thing

    def _run(self, thing: Thing, course: list[str]) -> None:
        thing.course, thing.born = course, len(self.requests)
        thing.facts["state"] = course[0]

    def _tick(self) -> None:
        # What it owes is done as if another request came in.
        due = [work for when, work in self._later if when <= len(self.requests)]
        self._later = [(when, work) for when, work in self._later if when > len(self.requests)]
        for work in due:
            work()
        self._advance()

    def _advance(self) -> None:
        for thing in self.things.values():
            if thing.course and thing.facts["state"] != "archived":
                step = min((len(self.requests) - thing.born) // max(self.manners.looks, 1), len(thing.course) - 1)
                thing.facts["state"] = thing.course[step if self.manners.looks else -1]
                if thing.facts["state"] == "error":
                    thing.facts["status"] = [{"severity": 3, "tag": "broken", "message": "the line card is gone"}]

    def _list(self, every: list[dict[str, Any]], query: dict[str, str]) -> Answer:
        known = {"external_ref", "network_service", "connection", "type", "state"}
        if not self.manners.ignores_filters:
            filters = {key: value for key, value in query.items() if key in known}
            every = [each for each in every if all(each.get(key, value) == value for key, value in filters.items())]
        if self.manners.strange:
            every = [{"id": "odd", "type": "wormhole_vc"}, "not an object", {"type": "p2p_vc"}, *every]  # type: ignore[list-item]
        if self.manners.page is None:
            return Answer(200, every)
        offset = 0 if self.manners.repeats_pages else int(query.get("page_offset", 0))
        limit = min(int(query.get("page_limit", self.manners.page)), self.manners.page)
        part = every[offset : offset + limit]
        headers = {self.manners.page_header: "snapshot-1"} if self.manners.page_header else {}
        return Answer(206, part, headers)

    def _implementation(self) -> dict[str, Any]:
        found: dict[str, Any] = {"schema_version": self.manners.version, "supported_operations": []}
        if self.manners.page is not None:
            found["supported_features"] = {"pagination": True}
        return found

    def _connection(self, id: str) -> dict[str, Any]:
        tags = ["port"] if id == "con-port" else ["dot1q", "qinq"]
        return {"id": id, "name": id, "state": "production", "speed": self.speed[id], "vlan_types": tags}

    def _offering(self, offering: dict[str, Any]) -> dict[str, Any]:
        return {"type": "p2p_vc", "resource_type": "network_service", "name": offering["id"], **offering}

    def _policy(self) -> dict[str, Any]:
        earliest = TODAY + timedelta(days=self.manners.notice_days)
        charged = TODAY + timedelta(days=self.manners.charged_days)
        return {"decommission_at": earliest.isoformat(), "charged_until": max(earliest, charged).isoformat()}

    def _problem(self, status: int, kind: str, **facts: Any) -> Answer:
        return Answer(status, {"type": f"{ERRORS}/{kind}.html", "title": kind, "status": status, **facts})

    def _invalid(self, properties: dict[str, Any]) -> Answer:
        reasons = [{"name": name, "reason": reason} for name, reason in properties.items()]
        return self._problem(400, "validation-error", properties=reasons)


@dataclass
class Answer:
    """Status, JSON document (or a text), further headers."""

    status: int
    document: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return self.document.encode() if isinstance(self.document, str) else json.dumps(self.document).encode()


class Wire(httpx2.AsyncBaseTransport):
    """The way to it without sockets."""

    def __init__(self, exchange: Misbehaving, base: str = "/api/v2") -> None:
        self._exchange = exchange
        self._base = base

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix(self._base)
        answer = self._exchange.handle(
            request.method, path, dict(request.url.params), dict(request.headers), await request.aread()
        )
        return httpx2.Response(
            answer.status, stream=httpx2.ByteStream(answer.body), headers=answer.headers, request=request
        )


def app(exchange: Misbehaving, base: str = "/api/v2") -> Any:
    """The same for a real listener: an ASGI app. What has no answer ends the connection."""

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        answer = exchange.handle(scope["method"], scope["path"].removeprefix(base), query, headers, body)
        fields = [
            (b"content-type", b"application/json"),
            *((k.encode(), v.encode()) for k, v in answer.headers.items()),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        await send({"type": "http.response.body", "body": answer.body})

    return serve


def _room(id: str) -> str:
    return "network-services" if id.startswith("ns-") else "network-service-configs"
