"""`meetme audit`: the log of everything that was decided, and the proof that nobody has changed it since."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from meetme.cli.member import LocalApi, api_options, service_option
from meetme.cli.output import asynchronous, format_option

if TYPE_CHECKING:
    from meetme.runtime.logbook import AuditEntry


@click.group()
def audit() -> None:
    """The log of everything that was decided. Each entry's hash covers all entries before it."""


@audit.command("list", epilog="Example: meetme audit list --negotiation 281c210f-7161-417a-81b9-0a2f19a6417a")
@click.option("--negotiation", help="Only what is about this one.")
@click.option("--circuit", help="Only what is about this one.")
@click.option("--order", help="Only what is about this one.")
@click.option("--last", type=click.IntRange(1), help="Only so many of the newest entries.")
@service_option
@api_options
@format_option
@asynchronous
async def list_(
    negotiation: str | None,
    circuit: str | None,
    order: str | None,
    last: int | None,
    service: str,
    api: LocalApi,
    form: str,
) -> int:
    """Every entry, the oldest first."""
    from meetme.cli.output import print_json, print_table

    read = [(entry, json.loads(entry.entry)) for entry in await _entries(api, service)]
    shown = [
        (entry, facts)
        for entry, facts in read
        if negotiation in (None, facts.get("negotiation"))
        and circuit in (None, facts.get("circuit"))
        and order in (None, facts.get("order"))
    ]
    shown = shown[-last:] if last else shown
    if form == "json":
        print_json([{"sequence": entry.sequence, **facts, "hash": entry.hash} for entry, facts in shown])
        return 0
    rows = [(str(entry.sequence), _time(facts), _what(facts), _about(facts)) for entry, facts in shown]
    print_table(("", "when", "what", "about"), rows, empty="nothing was decided yet")
    return 0


@audit.command(epilog="Example: meetme audit verify --known 5f1c...")
@click.option("--known", metavar="HASH", help="A hash that was told earlier: what it covers must still be there.")
@service_option
@api_options
@format_option
@asynchronous
async def verify(known: str | None, service: str, api: LocalApi, form: str) -> int:
    """See whether any entry was changed, removed or put in since it was written; exit status 1 if one was.

    An end that was cut off shows only to who knows a hash from before: keep the one that this tells, somewhere else.
    """
    from meetme.cli.output import print_json, show_problem
    from meetme.model.errors import Problem
    from meetme.runtime.logbook import first_broken

    entries = await _entries(api, service)
    broken = first_broken(entries)
    gone = known is not None and known not in {entry.hash for entry in entries}
    head = entries[-1].hash if entries else ""
    if form == "json":
        found = {"ok": broken is None and not gone, "entries": len(entries), "head": head, "first_broken": broken}
        print_json({**found, "known_found": None if known is None else not gone})
    elif broken is None and not gone:
        click.echo(f"{len(entries)} entries, each as it was written")
        click.echo(f"head {head or '-'}")
    if broken is not None:
        hint = "compare with a backup; whoever can write to the database can have done it"
        show_problem(Problem("audit_broken", f"audit: entry {broken} must be as it was written", hint))
    if gone:
        hint = "entries were removed from the end, or all were written anew: compare with a backup"
        show_problem(Problem("audit_truncated", f'audit: must contain what was known before ("{known}")', hint))
    return 1 if broken is not None or gone else 0


async def _entries(api: LocalApi, service: str) -> list[AuditEntry]:
    async with api.of(service) as client:
        return [entry async for page in client.audit() for entry in page]


def _time(facts: dict[str, Any]) -> str:
    return datetime.fromtimestamp(facts["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")


def _what(facts: dict[str, Any]) -> str:
    before, after = facts.get("before"), facts.get("after")
    change = f"  {before or 'new'} -> {after}" if after else ""
    problem = f"  [{facts['problem']}]" if facts.get("problem") else ""
    return f"{facts['what']}{change}{problem}"


def _about(facts: dict[str, Any]) -> str:
    return "  ".join(
        str(facts[key])
        for key in ("negotiation", "order", "offer", "peer", "partner", "circuit", "account")
        if facts.get(key)
    )
