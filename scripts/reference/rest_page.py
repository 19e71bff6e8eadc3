"""The REST interfaces of negotiator, composer and catalogue, from their OpenAPI documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from fastapi import FastAPI
from markdown import table
from prometheus_client import CollectorRegistry

import meetme.catalog.local_api as catalog_api
import meetme.catalog.peers_api as catalog_peers_api
import meetme.composer.local_api as composer_api
import meetme.composer.peers_api as composer_peers_api
from meetme.composer import spread_api
from meetme.composer.circuits_api import CircuitsApi
from meetme.negotiator import local_api, peers_api
from meetme.runtime import operations_api
from meetme.runtime.http import Access, build_app, build_peer_app
from meetme.runtime.tokens import Tokens

_INTRODUCTION = """# REST

Negotiator, composer and catalogue have two listeners each. Every error is a problem document (RFC 9457,
`application/problem+json`) with a stable [code](problems.md), the offending field and a hint. A body larger than 64 KiB
is answered with 413, an unknown field with 422. A running service has the same as `/openapi.json`, and as a page at
`/docs`.
"""
_LOCAL = """## The negotiator's local API

At `--listen` (default 127.0.0.1:8471), for people, command lines and catalogues. Send `Authorization: Bearer TOKEN`;
`/healthz`, `/readyz`, `/metrics`, `/openapi.json` and `/docs` need none.
"""
_PEERS = """## The negotiator, for other members

At `--listen-peers`, over mutual TLS 1.3, for members of the roster alone. The body is an envelope of the
[protocol](../explanation/protocol.md), and so is the answer of 200; 202 without a body means: ask again.
"""
_COMPOSER = """## The composer's local API

At `--listen` (default 127.0.0.1:8473), for whoever runs the exchange. Send `Authorization: Bearer TOKEN`.
"""
_COMPOSER_PEERS = """## The composer, for other members

At `--listen-peers`, over mutual TLS 1.3. Members at the ports of exchanges order circuits of which they are an end, and
see their own end; the two `handle_...` routes are for other composers alone
([signalling](../explanation/signalling.md)).
"""
_CATALOG = """## The catalogue's local API

At `--listen` (default 127.0.0.1:8472), for the member's own people and programs. Send `Authorization: Bearer TOKEN`.
"""
_CATALOG_PEERS = """## The catalogue, for other members

At `--listen-peers`, over mutual TLS 1.3, for members of the roster alone.
"""
_TYPES = """## Types

`?` marks what may be left out of a request; an answer always has it.
"""
_FORMATS = {"ipv4": "address", "ipv4network": "prefix", "ipv4interface": "address/length"}
_FORMATS |= {"ipv6": "address", "ipv6network": "prefix", "ipv6interface": "address/length"}
_FORMATS |= {"uuid": "UUID", "date-time": "time"}
_FORMATS |= {"string": "text", "integer": "whole number"}


def page() -> str:
    """The page of the REST interfaces."""
    nothing = cast(Any, None)  # a route uses what it is given only once it is called
    local = build_app(title="MeetMe negotiator", version="1", registry=CollectorRegistry())
    local_api.add_routes(local, Tokens({}), *[nothing] * 7)
    operations_api.add_routes(local, Tokens({}), nothing, nothing, nothing)
    peers = build_peer_app(title="MeetMe negotiator, for peers", version="1", trust=nothing)
    peers_api.add_routes(peers, nothing, nothing)
    composer, others = _composer(nothing)
    catalog, members = _catalog(nothing)
    documents = (local.openapi(), composer.openapi(), catalog.openapi())
    lines = [_INTRODUCTION, _LOCAL, *_routes(documents[0]), _PEERS, *_routes(peers.openapi())]
    lines += [_COMPOSER, *_routes(documents[1]), _COMPOSER_PEERS, *_routes(others.openapi())]
    lines += [_CATALOG, *_routes(documents[2]), _CATALOG_PEERS, *_routes(members.openapi()), _TYPES]
    schemas = {name: schema for each in documents for name, schema in each["components"]["schemas"].items()}
    for name, schema in schemas.items():
        lines += schema_lines(name, schema)
    return "\n".join(lines)


def _composer(nothing: Any) -> tuple[FastAPI, FastAPI]:
    circuits = CircuitsApi(nothing, nothing, nothing, nothing, nothing)
    local = build_app(title="MeetMe composer", version="1", registry=CollectorRegistry())
    composer_api.add_routes(local, Tokens({}), circuits, nothing)
    operations_api.add_routes(local, Tokens({}), nothing, nothing, nothing)
    spread_api.add_local_routes(local, Access(Tokens({})), nothing, nothing)
    peers = build_peer_app(title="MeetMe composer, for other members", version="1", trust=nothing)
    composer_peers_api.add_routes(peers, nothing, circuits)
    spread_api.add_peer_routes(peers, nothing, nothing)
    return local, peers


def _catalog(nothing: Any) -> tuple[FastAPI, FastAPI]:
    local = build_app(title="MeetMe catalog", version="1", registry=CollectorRegistry())
    catalog_api.add_routes(local, Tokens({}), *[nothing] * 7)
    peers = build_peer_app(title="MeetMe catalog, for other members", version="1", trust=nothing)
    catalog_peers_api.add_routes(peers, nothing, nothing, nothing)
    return local, peers


def _routes(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            yield from (f"### {method.upper()} {path}", "", about["summary"] + ".", "")
            rows = [
                (
                    f"`{each['name']}`",
                    f"{each['in']}{'' if each['required'] else ', optional'}",
                    each.get("description", ""),
                )
                for each in about.get("parameters", ())
            ]
            if "requestBody" in about:
                rows.append(("body", "JSON", _content(about["requestBody"])))
            if rows:
                yield from table(("give", "where", "what"), rows)
            answers = sorted((s, answer) for s, answer in about["responses"].items() if s[0] == "2" or s == "503")
            yield from table(("answer", "what"), [(status, _said(answer)) for status, answer in answers])


def _parameter(each: dict[str, Any]) -> tuple[str, str, str]:
    where = each["in"] if each["required"] else f"{each['in']}, optional"
    return f"`{each['name']}`", where, each.get("description", "")


def _said(answer: dict[str, Any]) -> str:
    parts = [answer["description"] if answer["description"] != "Successful Response" else "", _content(answer)]
    return ": ".join(part for part in parts if part)


def _content(of: dict[str, Any]) -> str:
    for kind, content in of.get("content", {}).items():
        if schema := content.get("schema"):
            return type_text(schema) if kind == "application/json" else f"{kind}"
    return ""


def type_text(schema: dict[str, Any]) -> str:
    """A type in a JSON schema, in a person's words."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rsplit("/", 1)[-1]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": choices}:
            return " or ".join(dict.fromkeys(type_text(choice) for choice in choices))
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            return f"list of {type_text(items)}"
        case {"additionalProperties": dict(values)}:
            return f"object, each value {type_text(values)}"
        case {"format": form}:
            return _FORMATS.get(form, form)
        case {"type": kind}:
            return _FORMATS.get(kind, kind)
        case _:
            return "any"


def schema_lines(name: str, schema: dict[str, Any]) -> Iterator[str]:
    """The section of one named type."""
    yield from (f"### {name}", "", " ".join(schema.get("description", "").split()), "")
    if "properties" not in schema:
        yield from (type_text(schema), "")
        return
    required = schema.get("required", ())
    rows = [(f"`{key}`{'' if key in required else '?'}", type_text(of)) for key, of in schema["properties"].items()]
    yield from table(("field", "type"), rows)
