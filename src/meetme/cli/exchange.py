"""`meetme exchange check`: whether circuits can be ordered at an exchange that speaks IX-API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meetme.cli.output import asynchronous, format_option

if TYPE_CHECKING:
    from rich.text import Text

    from meetme.ixapi.checking import Finding


@click.group()
def exchange() -> None:
    """An exchange, as those who order there see it (IX-API 2.x)."""


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


def _mark(finding: Finding) -> Text:
    from rich.text import Text

    return Text("yes", "green") if finding.ok else Text("no", "red" if finding.needed else "yellow")
