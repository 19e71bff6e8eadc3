"""`meetme peer add|policy|list|remove`: who is who."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meetme.cli.member import directory_option, member_directory
from meetme.cli.output import format_option
from meetme.cli.which import member_argument

if TYPE_CHECKING:
    from meetme.model.members import MemberPolicy


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that say what a peer may do; each left out is None, an empty list stays empty."""
    flags = (
        click.option("--announce", multiple=True, metavar="PREFIX", help="Within which it may announce; repeatable."),
        click.option("--any-prefix", is_flag=True, help="It may announce anything but a default route."),
        click.option("--order-required/--no-order-required", default=None, help="Only with an approved order."),
        click.option("--max-agreements", type=_LIMIT, help="How many agreements it may have at a time, or `any`."),
        click.option("--proposals-per-minute", type=_LIMIT, help="How often it may begin a negotiation, or `any`."),
        click.option(
            "--count-summaries/--no-count-summaries",
            default=None,
            help="Whether less specific routes of ours, a default route too, make its prefixes overlap.",
        ),
    )
    for flag in reversed(flags):
        command = flag(command)
    return command


class _Limit(click.ParamType[int]):
    """A number from 0, or `any` for no limit (-1)."""

    name = "N|any"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The limit, -1 for none."""
        if value == "any":
            return -1
        if not str(value).isdecimal():
            self.fail(f'must be a number from 0, or any ("{value}")', param, ctx)
        return int(value)


_LIMIT = _Limit()


@click.group()
def peer() -> None:
    """Other members: who they are, where their services listen, what they may do. A running member notices at once."""


@peer.command("add", epilog="Example: meetme peer add csp-b --negotiator https://negotiator.csp-b.example:8470")
@click.argument("member")
@click.option(
    "--negotiator",
    "url",
    help="Where its negotiator listens for peers, https://HOST:PORT.  [default: it cannot be reached]",
)
@click.option("--composer", help="Of an exchange: where its composer listens for peers, https://HOST:PORT.")
@click.option("--catalog", help="Where its catalog listens for peers, https://HOST:PORT.")
@click.option("--certificate", type=click.Path(path_type=Path), help="Its certificate.  [default: ask one of these]")
@click.option("--pin", help="Its pin, when it was told by a way you trust: then nobody is asked to confirm.")
@click.option("--kind", type=click.Choice(["csp", "ixp"]), help="What it is.  [default: csp]")
@click.option("--country", help="Two letters, ISO 3166-1.")
@policy_options
@click.option("--yes", is_flag=True, help="Trust the certificate without asking; only for a file you trust.")
@directory_option
def add(
    member: str,
    url: str | None,
    composer: str | None,
    catalog: str | None,
    certificate: Path | None,
    pin: str | None,
    kind: str | None,
    country: str | None,
    yes: bool,
    directory: Path | None,
    **rules: Any,
) -> int:
    """Make MEMBER known: its key is pinned from now on, and a second key may be added while it changes keys.

    Of a member that is known already, everything stays that no flag changes.

    Without --certificate its negotiator, composer or catalog is asked for it, and you compare the fingerprint with what
    its operator tells you, by telephone or in person. Nothing is trusted before you have confirmed it.
    """
    import asyncio
    from dataclasses import replace

    from meetme.model.agreement import MemberId
    from meetme.model.errors import InvalidInput, NotFound
    from meetme.model.members import Member, MemberKind, MemberPolicy, ServiceUrls, parse_member_id
    from meetme.runtime.identity import fingerprint, member_in, pin_of
    from meetme.runtime.roster import MOST_PINS, read_roster, write_roster

    name: MemberId = parse_member_id(member, field="member")
    roster_path = (directory or member_directory()) / "roster.toml"
    roster = read_roster(roster_path)
    if certificate is None:
        asked = url or composer or catalog
        if asked is None:
            raise InvalidInput(
                "certificate_missing",
                "certificate: must be given for a member that cannot be asked for it",
                hint="give its --certificate, or where it is reached: --negotiator https://HOST:PORT",
                field="certificate",
            )
        pem = asyncio.run(_ask(asked))
    else:
        try:
            pem = certificate.read_bytes()
        except OSError as error:
            raise NotFound(
                "certificate_missing",
                f'certificate: cannot be read ("{certificate}": {error.strerror})',
                field="certificate",
            ) from None
    if member_in(pem) != name:
        raise InvalidInput(
            "certificate_of_another",
            f'certificate: must be that of {name} (it is that of "{member_in(pem)}")',
            hint="the id has to be the one that the peer itself uses",
            field="certificate",
        )
    found = pin_of(pem)
    if pin is not None and pin != found:
        raise InvalidInput(
            "pin_mismatch",
            f"pin: is not that of the certificate ({found})",
            hint="do not go on before you know why: somebody may be in between",
            field="pin",
        )
    click.echo(f"{name}  {fingerprint(found)}", err=True)
    if pin is None and not yes:
        click.confirm("Does its operator read the same fingerprint to you?", abort=True, err=True)
    known = roster.find(name)
    pins = (*(known.pins if known else ()), found)
    certificates = (*(known.certificates if known else ()), pem)
    if known and found in known.pins:
        pins, certificates = known.pins, known.certificates
    if len(pins) > MOST_PINS:
        raise InvalidInput(
            "too_many_pins",
            f"{name}: has {MOST_PINS} keys already",
            hint=f"meetme peer remove {name} --pin OLD takes the old one out",
            field="member",
        )
    policy = _changed(known.policy if known else MemberPolicy(), **rules)
    urls = known.urls if known else ServiceUrls()
    given = {"negotiator": url, "composer": composer, "catalog": catalog}
    urls = replace(urls, **{service: where for service, where in given.items() if where is not None})
    entry = Member(
        id=name,
        kind=MemberKind(kind) if kind else known.kind if known else MemberKind.CSP,
        pins=pins,
        certificates=certificates,
        country=country or (known.country if known else None),
        urls=urls,
        policy=policy,
    )
    write_roster(roster_path, roster.with_member(entry))
    click.echo(f"{name} is known" + (" by two keys" if len(pins) > 1 else ""))
    return 0


async def _ask(url: str) -> bytes:
    from urllib.parse import urlsplit

    from meetme.model.errors import InvalidInput
    from meetme.runtime.tls import fetch_certificate

    wrong = InvalidInput(
        "url_malformed",
        f'negotiator: must be https://HOST:PORT ("{url}")',
        hint="for example https://meetme.example.net:8470",
        field="negotiator",
    )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError:  # a bracket that is never closed, a port that is none
        raise wrong from None
    if parts.scheme != "https" or not host:
        raise wrong
    click.echo(f"asking {host} for its certificate ...", err=True)
    return await fetch_certificate(host, port)


@peer.command("policy", epilog="Example: meetme peer policy csp-b --announce 10.8.0.0/16 --max-agreements 2")
@member_argument
@policy_options
@directory_option
@format_option
def policy_(member: str, directory: Path | None, form: str, **rules: Any) -> int:
    """What MEMBER may do with us: show it, or change what a flag names. A running negotiator notices at once.

    It holds for whatever is agreed from now on; agreements that are in force stay until they are terminated.
    """
    from dataclasses import replace

    from meetme.cli.output import print_json, print_table
    from meetme.runtime.roster import read_roster, write_roster

    path = (directory or member_directory()) / "roster.toml"
    roster = read_roster(path)
    known = roster.member(member)
    policy = _changed(known.policy, **rules)
    if policy != known.policy:
        write_roster(path, roster.with_member(replace(known, policy=policy)))
    if form == "json":
        print_json(_policy_json(policy))
        return 0
    print_table(("rule", "value", "meaning"), _policy_rows(policy), empty="")
    return 0


def _changed(
    policy: MemberPolicy,
    *,
    announce: tuple[str, ...],
    any_prefix: bool,
    order_required: bool | None,
    max_agreements: int | None,
    proposals_per_minute: int | None,
    count_summaries: bool | None,
) -> MemberPolicy:
    from dataclasses import replace

    from meetme.model.addresses import parse_prefix
    from meetme.model.errors import InvalidInput

    if announce and any_prefix:
        raise InvalidInput(
            "announce_contradicts", "announce: must not be given together with --any-prefix", field="announce"
        )
    if announce or any_prefix:
        prefixes = tuple(parse_prefix(text, field=f"announce[{i}]") for i, text in enumerate(announce))
        policy = replace(policy, announce=prefixes)
    if order_required is not None:
        policy = replace(policy, order_required=order_required)
    if max_agreements is not None:
        policy = replace(policy, max_agreements=None if max_agreements < 0 else max_agreements)
    if proposals_per_minute is not None:
        policy = replace(policy, proposals_per_minute=None if proposals_per_minute < 0 else proposals_per_minute)
    if count_summaries is not None:
        policy = replace(policy, count_summaries=count_summaries)
    return policy


def _policy_json(policy: MemberPolicy) -> dict[str, object]:
    return {
        "announce": [str(p) for p in policy.announce],
        "order_required": policy.order_required,
        "max_agreements": policy.max_agreements,
        "proposals_per_minute": policy.proposals_per_minute,
        "count_summaries": policy.count_summaries,
    }


def _policy_rows(policy: MemberPolicy) -> list[tuple[str, str, str]]:
    def limit(value: int | None) -> str:
        return "any" if value is None else str(value)

    return [
        ("announce", "\n".join(map(str, policy.announce)) or "any", "within which it may announce prefixes"),
        ("order_required", "yes" if policy.order_required else "no", "only with an approved order"),
        ("max_agreements", limit(policy.max_agreements), "how many agreements at a time"),
        ("proposals_per_minute", limit(policy.proposals_per_minute), "how often it may begin a negotiation"),
        ("count_summaries", "yes" if policy.count_summaries else "no", "our less specific routes count as overlap"),
    ]


@peer.command("list")
@directory_option
@format_option
def list_(directory: Path | None, form: str) -> int:
    """Every member that is known here."""
    from meetme.cli.output import print_json, print_table
    from meetme.runtime.identity import fingerprint
    from meetme.runtime.roster import read_roster

    roster = read_roster((directory or member_directory()) / "roster.toml")
    if form == "json":
        print_json(
            [
                {
                    "id": m.id,
                    "kind": m.kind,
                    "country": m.country,
                    "pins": list(m.pins),
                    "negotiator": m.urls.negotiator,
                    "composer": m.urls.composer,
                    "catalog": m.urls.catalog,
                    "policy": _policy_json(m.policy),
                }
                for m in roster.members
            ]
        )
        return 0
    rows = [
        (m.id, m.kind, m.country or "-", m.urls.negotiator or "-", "\n".join(fingerprint(p) for p in m.pins))
        for m in roster.members
    ]
    print_table(("member", "kind", "country", "negotiator", "fingerprint"), rows, empty="nobody is known yet")
    return 0


@peer.command("remove")
@member_argument
@click.option("--pin", help="Only this key of it, at the end of a change of keys.")
@directory_option
def remove(member: str, pin: str | None, directory: Path | None) -> int:
    """Forget MEMBER: from now on its messages are refused. Agreements stay until they are terminated."""
    from dataclasses import replace

    from meetme.model.errors import NotFound
    from meetme.runtime.identity import pin_of
    from meetme.runtime.roster import read_roster, write_roster

    path = (directory or member_directory()) / "roster.toml"
    roster = read_roster(path)
    known = roster.member(member)
    if pin is None:
        write_roster(path, roster.without(member))
        click.echo(f"{member} is forgotten")
        return 0
    if pin not in known.pins or len(known.pins) == 1:
        raise NotFound(
            "pin_unknown",
            f"pin: must be one of the two keys of {member} ({pin})",
            hint="meetme peer list --format json shows the pins",
            field="pin",
        )
    left = replace(
        known,
        pins=tuple(p for p in known.pins if p != pin),
        certificates=tuple(c for c in known.certificates if pin_of(c) != pin),
    )
    write_roster(path, roster.with_member(left))
    click.echo(f"{member} is known by one key")
    return 0
