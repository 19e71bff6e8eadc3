"""IX-API 2.x over HTTP: which operations there are, and what answers them.

What is not in the table of operations does not exist: it is neither answered nor listed in `supported_operations`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from meetme import __version__
from meetme.ixapi import answers, lists, store, wire
from meetme.ixapi.access import Who, sees, sees_service
from meetme.ixapi.answers import Document
from meetme.ixapi.auth import Doorman
from meetme.ixapi.desk import Desk
from meetme.ixapi.directory import Directory
from meetme.ixapi.objects import P2P_VC, Config, Service
from meetme.ixapi.over_http import (
    basic_of,
    day_of,
    id_of,
    json_of,
    oauth_answer,
    object_of,
    page_answer,
    query_of,
    tokens_answer,
)
from meetme.model.errors import NotFound, Unauthenticated
from meetme.runtime.database import Database
from meetme.runtime.sse import Bell, as_soon_as, preferred_wait

ROOT = "/api/v2"
SCHEMA_VERSION = "2.1.0"
TOKEN_PATH = f"{ROOT}/oauth2/token"
SERVICES, CONFIGS = "network-services", "network-service-configs"
Answer = Callable[[Request], Awaitable[Response]]
Health = Callable[[], Awaitable[Mapping[str, str]]]
"""What has to work, and "ok" or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, by the name that IX-API has for it."""

    name: str
    method: str
    path: str
    answer: Answer


class Api:
    """Everything below /api/v2."""

    def __init__(
        self, desk: Desk, directory: Directory, doorman: Doorman, database: Database, bell: Bell, health: Health
    ) -> None:
        """`bell`: rung after every change of a service or a config."""
        self._desk = desk
        self._bell = bell
        self._directory = directory
        self._doorman = doorman
        self._database = database
        self._health = health

    def operations(self) -> tuple[Operation, ...]:
        """All that there are."""
        d = self._directory
        readable: dict[str, tuple[str, Callable[[Who], Awaitable[list[Document]]]]] = {
            "accounts": ("accounts", _at_once(d.accounts)),
            "contacts": ("contacts", _at_once(d.contacts)),
            "roles": ("roles", _at_once(d.roles)),
            "role-assignments": ("role_assignments", _at_once(d.role_assignments)),
            "metro-areas": ("metro_areas", _at_once(d.metro_areas)),
            "metro-area-networks": ("metro_area_networks", _at_once(d.metro_area_networks)),
            "facilities": ("facilities", _at_once(d.facilities)),
            "pops": ("pops", _at_once(d.pops)),
            "devices": ("devices", _at_once(d.devices)),
            "ports": ("ports", _at_once(d.ports)),
            "connections": ("connections", self._connections),
            "product-offerings": ("product_offerings", _at_once(d.product_offerings)),
        }
        found = [
            Operation("auth_token_create", "POST", "/auth/token", self._log_in),
            Operation("auth_token_refresh", "POST", "/auth/refresh", self._refresh),
            Operation("api_health_read", "GET", "/health", self._read_health),
            Operation("api_implementation_read", "GET", "/implementation", self._implementation),
            Operation("account_read", "GET", "/account", self._account),
        ]
        for collection, (name, documents) in readable.items():
            found.append(Operation(f"{name}_list", "GET", f"/{collection}", self._list(collection, documents)))
            id = "assignment_id" if collection == "role-assignments" else "id"
            found.append(Operation(f"{name}_read", "GET", f"/{collection}/{{{id}}}", self._read(documents, id)))
        for collection, name, kind in (
            (SERVICES, "network_service", store.SERVICE),
            (CONFIGS, "network_service_config", store.CONFIG),
        ):
            found += self._operations_of(collection, name, kind)
        change = f"/{SERVICES}/{{id}}/change-request"
        # The name of the last one is IX-API's own.
        return (
            *found,
            Operation("network_service_change_request_read", "GET", change, self._read_change),
            Operation("network_service_change_request_destroy", "DELETE", change, self._withdraw_change),
            Operation("network-service-change-request_create", "POST", change, self._ask_change),
        )

    def _operations_of(self, collection: str, name: str, kind: str) -> tuple[Operation, ...]:
        create, update, patch = (
            (self._order_service, self._put_service, self._patch_service)
            if kind == store.SERVICE
            else (self._order_config, self._put_config, self._patch_config)
        )
        one = f"/{collection}/{{id}}"
        return (
            Operation(f"{name}s_list", "GET", f"/{collection}", self._list_objects(collection, kind)),
            Operation(f"{name}s_create", "POST", f"/{collection}", create),
            Operation(f"{name}s_read", "GET", one, self._read_object(kind)),
            Operation(f"{name}s_update", "PUT", one, update),
            Operation(f"{name}s_partial_update", "PATCH", one, patch),
            Operation(f"{name}s_destroy", "DELETE", one, self._cancel(kind)),
            Operation(f"{name}_cancellation_policy_read", "GET", f"{one}/cancellation-policy", self._policy(kind)),
        )

    def add_routes(self, app: FastAPI) -> None:
        """Let `app` offer them."""
        for each in self.operations():
            app.add_api_route(
                ROOT + each.path,
                each.answer,
                methods=[each.method],
                operation_id=each.name,
                name=each.name,
                summary=f"IX-API: {each.name}",
                response_model=None,
                tags=[each.path.split("/")[1]],
            )
        app.add_api_route(
            TOKEN_PATH,
            self._client_credentials,
            methods=["POST"],
            name="oauth2_token",
            summary="OAuth 2.0 client credentials: an API key and its secret",
            response_model=None,
            tags=["auth"],
        )

    # --- who asks -----------------------------------------------------------------------------------------------------

    def _who(self, request: Request) -> Who:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated(
                "token_missing",
                "token: must be given",
                hint="POST auth/token, then send 'Authorization: Bearer TOKEN'",
                field="token",
            )
        return self._doorman.who(token.strip())

    async def _log_in(self, request: Request) -> Response:
        body = wire.read(wire.KeyBody, await json_of(request))
        return tokens_answer(self._doorman.log_in(body.api_key, body.api_secret))

    async def _refresh(self, request: Request) -> Response:
        return tokens_answer(self._doorman.refresh(wire.read(wire.RefreshBody, await json_of(request)).refresh_token))

    async def _client_credentials(self, request: Request) -> Response:
        """RFC 6749, sections 4.4 and 5; errors as it has them."""
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=20)
        if form.get("grant_type") != ["client_credentials"]:
            return oauth_answer({"error": "unsupported_grant_type"}, 400)
        key, secret = form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            key, secret = basic_of(encoded)
        try:
            pair = self._doorman.log_in(key, secret)
        except Unauthenticated as error:
            answer = oauth_answer({"error": "invalid_client", "error_description": error.text}, 401)
            answer.headers["www-authenticate"] = "Basic"
            return answer
        seconds = int(self._doorman.access_seconds)
        return oauth_answer({"access_token": pair.access, "token_type": "Bearer", "expires_in": seconds}, 200)

    # --- what the exchange is -----------------------------------------------------------------------------------------

    async def _read_health(self, _request: Request) -> Response:
        checks = await self._health()
        wrong = [name for name, said in checks.items() if said != "ok"]
        status = "fail" if {"database", "loop"} & set(wrong) else "warn" if wrong else "pass"
        document = {
            "status": status,
            "version": SCHEMA_VERSION.split(".", maxsplit=1)[0],
            "releaseId": __version__,
            "serviceId": "meetme-ixapi",
            "description": "IX-API of this exchange",
            "checks": {
                name: {"status": "pass"} if said == "ok" else {"status": "fail", "output": said}
                for name, said in checks.items()
            },
        }
        return JSONResponse(document)

    async def _implementation(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "schema_version": SCHEMA_VERSION,
                "service_version": __version__,
                "supported_network_service_types": [P2P_VC],
                "supported_network_service_config_types": [P2P_VC],
                "supported_network_feature_types": [],
                "supported_network_feature_config_types": [],
                "supported_operations": [each.name for each in self.operations()],
                "supported_features": {"pagination": True},
            }
        )

    async def _account(self, request: Request) -> Response:
        who = self._who(request)
        return JSONResponse(_one(self._directory.accounts(who), who.account))

    async def _connections(self, who: Who) -> list[Document]:
        allocated = await self._database.read(store.amounts)
        return self._directory.connections(who, allocated)

    def _list(self, collection: str, documents: Callable[[Who], Awaitable[list[Document]]]) -> Answer:
        async def answer(request: Request) -> Response:
            query = query_of(request)
            found = lists.choose(collection, await documents(self._who(request)), query)
            if collection == "product-offerings":
                found = lists.projected(found, query)
            return page_answer(found, query)

        return answer

    def _read(self, documents: Callable[[Who], Awaitable[list[Document]]], id: str) -> Answer:
        async def answer(request: Request) -> Response:
            return JSONResponse(_one(await documents(self._who(request)), request.path_params[id]))

        return answer

    # --- services and configs -----------------------------------------------------------------------------------------

    def _list_objects(self, collection: str, kind: str) -> Answer:
        async def answer(request: Request) -> Response:
            who, query = self._who(request), query_of(request)
            equal = {
                column: query[name][0]
                for name, column in _COLUMNS[kind].items()
                if len(query.get(name, ())) == 1 and "\x00" not in query[name][0]
            }
            archived = "archived" in query.get("state", ()) or "id" in query

            async def look() -> list[Document]:
                documents = await self._database.read(lambda tx: _documents(tx, kind, who, equal, archived=archived))
                return lists.choose(collection, documents, query)

            wait = preferred_wait(request.headers.get("prefer"))
            return page_answer(await as_soon_as(look, bool, self._bell, collection, wait), query, waited=wait)

        return answer

    def _read_object(self, kind: str) -> Answer:
        async def answer(request: Request) -> Response:
            who, id = self._who(request), request.path_params["id"]
            return JSONResponse(_document(await self._seen(who, kind, id)))

        return answer

    async def _seen(self, who: Who, kind: str, id: str) -> Service | Config:
        if "\x00" not in id:
            found = await self._database.read(lambda tx: _load(tx, kind, id))
            if found is not None and (
                sees_service(who, found) if isinstance(found, Service) else sees(who, found.owners)
            ):
                return found
        raise NotFound(f"network_{kind}_unknown", f"id: must be one that this account sees ('{id}')", field="id")

    async def _order_service(self, request: Request) -> Response:
        who = self._who(request)
        order = wire.read(wire.ServiceRequest, await json_of(request))
        return JSONResponse(answers.service(await self._desk.order_service(who, order)), 201)

    async def _put_service(self, request: Request) -> Response:
        who, order = self._who(request), wire.read(wire.ServiceRequest, await json_of(request))
        service = await self._desk.change_service(who, id_of(request), lambda _old: order)
        return JSONResponse(answers.service(service), 202)

    async def _patch_service(self, request: Request) -> Response:
        who, patch = self._who(request), await json_of(request)

        def changed(old: Service) -> wire.ServiceRequest:
            return wire.read(wire.ServiceRequest, wire.merged(answers.service(old), patch))

        return JSONResponse(answers.service(await self._desk.change_service(who, id_of(request), changed)), 202)

    async def _order_config(self, request: Request) -> Response:
        who = self._who(request)
        order = wire.read(wire.ConfigRequest, await json_of(request))
        return JSONResponse(answers.config(await self._desk.order_config(who, order)), 201)

    async def _put_config(self, request: Request) -> Response:
        who, body = self._who(request), await json_of(request)

        def changed(old: Config) -> wire.ConfigRequest:
            # 2.1.0 does not send the service again.
            return wire.read(wire.ConfigRequest, {"network_service": old.service, **object_of(body)})

        return JSONResponse(answers.config(await self._desk.change_config(who, id_of(request), changed)), 202)

    async def _patch_config(self, request: Request) -> Response:
        who, patch = self._who(request), await json_of(request)

        def changed(old: Config) -> wire.ConfigRequest:
            return wire.read(wire.ConfigRequest, wire.merged(answers.config(old), patch))

        return JSONResponse(answers.config(await self._desk.change_config(who, id_of(request), changed)), 202)

    def _cancel(self, kind: str) -> Answer:
        async def answer(request: Request) -> Response:
            who = self._who(request)
            body = wire.read(wire.CancellationBody, await json_of(request, optional=True))
            return JSONResponse(
                _document(await self._desk.cancel(who, kind, id_of(request), body.decommission_at)), 202
            )

        return answer

    def _policy(self, kind: str) -> Answer:
        async def answer(request: Request) -> Response:
            who, wanted = self._who(request), day_of(query_of(request))
            return JSONResponse(answers.cancellation(await self._desk.policy(who, kind, id_of(request), wanted)))

        return answer

    # --- change requests ----------------------------------------------------------------------------------------------

    async def _ask_change(self, request: Request) -> Response:
        who = self._who(request)
        body = wire.read(wire.ChangeBody, await json_of(request))
        await self._desk.ask_change(who, id_of(request), body)
        return JSONResponse({"product_offering": body.product_offering, "capacity": body.capacity}, 202)

    async def _read_change(self, request: Request) -> Response:
        service = await self._seen(self._who(request), store.SERVICE, id_of(request))
        return JSONResponse(answers.pending_change(service), 202)

    async def _withdraw_change(self, request: Request) -> Response:
        before = await self._desk.withdraw_change(self._who(request), id_of(request))
        return JSONResponse(answers.pending_change(before), 202)


_COLUMNS: Mapping[str, Mapping[str, str]] = {
    store.SERVICE: {"external_ref": "external_ref"},
    store.CONFIG: {"external_ref": "external_ref", "network_service": "service", "connection": "connection"},
}
"""Which filters the database answers: a column for each."""


def _documents(tx: Any, kind: str, who: Who, equal: Mapping[str, str], *, archived: bool) -> list[Document]:
    if kind == store.SERVICE:
        return [answers.service(s) for s in store.services(tx, who.under, equal, archived=archived)]
    return [answers.config(c) for c in store.configs(tx, who.under, equal, archived=archived)]


def _load(tx: Any, kind: str, id: str) -> Service | Config | None:
    found = store.services(tx, None, {"id": id}, archived=True) if kind == store.SERVICE else None
    other = store.configs(tx, None, {"id": id}, archived=True) if kind == store.CONFIG else None
    both: list[Service | Config] = [*(found or ()), *(other or ())]
    return both[0] if both else None


def _document(thing: Service | Config) -> Document:
    return answers.service(thing) if isinstance(thing, Service) else answers.config(thing)


def _at_once(read: Callable[[Who], list[Document]]) -> Callable[[Who], Awaitable[list[Document]]]:
    async def documents(who: Who) -> list[Document]:
        return read(who)

    return documents


def _one(documents: list[Document], id: str) -> Document:
    for each in documents:
        if each["id"] == id:
            return each
    raise NotFound("object_unknown", f"id: must be one that this account sees ('{id}')", field="id")
