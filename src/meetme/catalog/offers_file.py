"""Offers in a TOML file: one `[[offer]]` table each, with the fields of `offers.Offer`.

[[offer]]
name = "backup"
title = "Backup vault"
category = "storage"
price = { amount = "9.90", currency = "EUR" }
prefix = "10.0.0.0/24"
address = "10.0.0.10"
ends = [{ exchange = "ixp-1", port = "p3" }]
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from meetme.catalog.offers import Needs, Offer, OfferEnd, Price, several_problems
from meetme.model.errors import Fault, InvalidInput, NotFound, Problem, raise_problems
from meetme.runtime.reading import read

_INSIDE: dict[str, type] = {"price": Price, "needs": Needs, "ends": OfferEnd}


def read_offers(path: Path) -> tuple[Offer, ...]:
    """Read such a file.

    Raises NotFound `offers_missing`, InvalidInput `offers_malformed`, `offer_field_unknown`, `offer_malformed`.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound("offers_missing", f"{path}: must be a file that can be read ({error})", field="file") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput("offers_malformed", f"{path}: must be TOML ({error})", field="file") from None
    raw = tables.pop("offer", [])
    if tables or not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
        raise InvalidInput(
            "offers_malformed",
            f"{path}: must have [[offer]] tables, and nothing else",
            hint="[[offer]] with name, title, category and what reaching it takes",
            field="file",
        )
    return read_all(raw)


def read_all(raw: Iterable[Any]) -> tuple[Offer, ...]:
    """Several from their tables, or their JSON. Raises InvalidInput with all that is wrong."""
    found: list[tuple[str, Offer]] = []
    problems: list[Problem] = []
    for index, each in enumerate(raw):
        where = f"offer[{index}]"
        if not isinstance(each, dict):
            problems.append(Problem("offer_malformed", f"{where}: must be an object", field=where))
            continue
        try:
            found.append((where, read_offer(each, where)))
        except InvalidInput as error:
            problems += error.problems or (error.problem,)
    raise_problems((*problems, *several_problems(found)))
    return tuple(offer for _, offer in found)


def read_offer(raw: dict[str, Any], where: str = "offer") -> Offer:
    """One offer from its table, or its JSON. Raises InvalidInput `offer_field_unknown`, `offer_malformed`."""
    raise_problems(_unknown(raw, Offer, where))
    try:
        return read(Offer, raw, path=where, code="offer_malformed")
    except InvalidInput as error:
        # It is this member's own: nobody else has to act.
        raise InvalidInput(error.code, error.text, field=error.field, fault=Fault.LOCAL) from None


def _unknown(raw: object, kind: type, where: str) -> list[Problem]:
    """A typo is told, not ignored."""
    if not isinstance(raw, dict) or not is_dataclass(kind):
        return []
    names = {f.name for f in fields(kind)}
    found = []
    for key, value in raw.items():
        if key not in names:
            text = f'{where}.{key}: must be a field of an offer ("{key[:40]}")'
            found.append(Problem("offer_field_unknown", text, f"fields: {', '.join(sorted(names))}", f"{where}.{key}"))
        elif kind is Offer and key in _INSIDE:
            parts = value if isinstance(value, list) else [value]
            for index, part in enumerate(parts):
                here = f"{where}.{key}[{index}]" if isinstance(value, list) else f"{where}.{key}"
                found += _unknown(part, _INSIDE[key], here)
    return found
