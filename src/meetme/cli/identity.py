"""`meetme identity init|show`: the member's key pair and certificate."""

from __future__ import annotations

from pathlib import Path

import click

from meetme.cli.member import directory_option, member_directory
from meetme.cli.output import format_option


@click.group()
def identity() -> None:
    """The member's key and certificate: what the other members know it by."""


@identity.command("init", epilog="Example: meetme identity init --id csp-a")
@click.option("--id", "member", required=True, help="The member's id: lower-case letters, digits, hyphens.")
@directory_option
@format_option
def init(member: str, directory: Path | None, form: str) -> int:
    """Make a key, a self-signed certificate and a token for the local API.

    Writes key.pem and token (for their owner alone), certificate.pem (to be given to others) and an empty roster.toml.
    Never replaces an identity that is there.
    """
    from meetme.runtime.identity import create_identity, save_identity
    from meetme.runtime.tokens import create_token_file

    folder = directory or member_directory()
    made = create_identity(member)
    folder.mkdir(parents=True, exist_ok=True)
    save_identity(made, key=folder / "key.pem", certificate=folder / "certificate.pem")
    if not (folder / "token").exists():
        create_token_file(folder / "token")
    roster = folder / "roster.toml"
    if not roster.exists():
        roster.write_text("# Other members: meetme peer add\n", encoding="utf-8")
    return _print(folder, form)


@identity.command("show")
@directory_option
@format_option
def show(directory: Path | None, form: str) -> int:
    """Who this member is, and the fingerprint to read to others."""
    return _print(directory or member_directory(), form)


def _print(folder: Path, form: str) -> int:
    from meetme.cli.output import print_json
    from meetme.runtime.identity import fingerprint, load_certificate, load_identity

    key, certificate = folder / "key.pem", folder / "certificate.pem"
    own = load_identity(key=key, certificate=certificate)
    until = load_certificate(own.certificate).not_valid_after_utc
    if form == "json":
        print_json(
            {
                "member": own.member,
                "pin": own.pin,
                "fingerprint": fingerprint(own.pin),
                "certificate": str(certificate),
                "key": str(key),
                "expires": until.isoformat(),
            }
        )
        return 0
    click.secho(own.member, bold=True)
    click.echo(f"fingerprint  {fingerprint(own.pin)}")
    click.echo(f"pin          {own.pin}")
    click.echo(f"certificate  {certificate}  (give this file to your peers; valid until {until:%Y-%m-%d})")
    return 0
