"""`meetme exchange ...`: whether circuits can be ordered at one, and what stands on the switches of the own one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meetme.cli.output import asynchronous, format_option

if TYPE_CHECKING:
    from rich.text import Text

    from meetme.ixapi.checking import Finding
    from meetme.ixapi.strays import Stray


@click.group()
def exchange() -> None:
    """An exchange: as those who order there see it (IX-API 2.x), or one that runs meetme serve ixapi."""


@exchange.command(
    epilog="Example: meetme exchange check https://api.ix.example/api/v2 --key K7f3 --secret exchange-secret"
)
@click.argument("url")
@click.option("--key", required=True, help="The API key, or the client id with --token-url.")
@click.option("--secret", required=True, type=click.Path(path_type=Path), help="A file with nothing but its secret.")
@click.option("--certificate", type=click.Path(path_type=Path), help="PEM: whom to trust beside the usual authorities.")
@click.option("--token-url", help="Where OAuth 2 gives tokens for client credentials.  [default: /auth/token]")
@click.option("--scope", multiple=True, help="What to ask for there; repeatable.")
@format_option
@asynchronous
async def check(
    url: str,
    key: str,
    secret: Path,
    certificate: Path | None,
    token_url: str | None,
    scope: tuple[str, ...],
    form: str,
) -> int:
    """Whether a composer could order circuits there: version, account, products, connections. Orders nothing.

    Exit status 0 when nothing that is needed is missing, else 1.
    """
    from dataclasses import asdict

    from meetme.cli.output import print_json, print_table
    from meetme.ixapi.opening import ExchangeAccess, open_exchange

    there = open_exchange(ExchangeAccess(url, key, secret, certificate, token_url, scope))
    try:
        findings = await there.check()
    finally:
        await there.close()
    good = all(f.ok for f in findings if f.needed)
    if form == "json":
        print_json({"ok": good, "findings": [asdict(f) for f in findings]})
    else:
        print_table(("", "", ""), [(f.what, _mark(f), f.detail) for f in findings], empty="nothing was looked at")
        for finding in findings:
            if not finding.ok and finding.hint:
                click.echo(f"{finding.what}: {finding.hint}")
    return 0 if good else 1


@exchange.command(epilog="Example: meetme exchange strays --config exchange.toml --remove 7f3a")
@click.option(
    "--config", type=click.Path(path_type=Path), envvar="MEETME_CONFIG", help="Settings file of meetme serve ixapi."
)
@click.option("--remove", metavar="CIRCUIT", help="Take this one off its switch.")
@click.option("--switch", metavar="NAME", help="With --remove: off this one alone.  [default: every one that has it]")
@format_option
@asynchronous
async def strays(config: Path | None, remove: str | None, switch: str | None, form: str) -> int:
    """What stands on the exchange's switches and belongs to no service that its IX-API server knows.

    The server leaves such segments alone: they carry traffic, and its database may have been lost. Runs beside the
    server, with the same settings. Exit status 1 when a switch did not answer.
    """
    from meetme.cli.output import print_json, print_table, show_problem
    from meetme.cli.serve import exchange_of
    from meetme.ixapi.reaching import openers_of
    from meetme.ixapi.strays import StraySearch
    from meetme.runtime.clock import SystemClock

    settings, identity, database = exchange_of(config)
    try:
        search = StraySearch(database, openers_of(settings, identity), SystemClock())
        try:
            if remove is not None:
                for stray in await search.remove(remove, switch):
                    click.echo(f"'{stray.intent.circuit}' was taken off '{stray.switch}'", err=True)
                return 0
            found = await search.find()
        finally:
            await search.close()
    finally:
        await database.close()
    if form == "json":
        silent = [{"switch": name, "problem": problem.text} for name, problem in found.silent]
        print_json({"strays": [_described(stray) for stray in found.strays], "silent": silent})
    else:
        rows = [tuple(_described(stray).values()) for stray in found.strays]
        print_table(("switch", "circuit", "one side", "other side", "generation"), rows, empty="no strays")
        for _, problem in found.silent:
            show_problem(problem)
    return 1 if found.silent else 0


def _described(stray: Stray) -> dict[str, str]:
    from meetme.model.segment import describe

    intent = stray.intent
    return {
        "switch": stray.switch,
        "circuit": intent.circuit,
        "a": ", ".join(map(describe, intent.a)),
        "b": ", ".join(map(describe, intent.b)),
        "generation": str(intent.generation),
    }


def _mark(finding: Finding) -> Text:
    from rich.text import Text

    return Text("yes", "green") if finding.ok else Text("no", "red" if finding.needed else "yellow")
