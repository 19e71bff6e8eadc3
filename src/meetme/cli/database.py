"""`meetme database copy`: everything that a service keeps, into another database."""

from __future__ import annotations

import click

from meetme.cli.output import format_option

ROOMS = (
    "meetme.runtime",
    "meetme.negotiator",
    "meetme.configurator",
    "meetme.ixapi",
    "meetme.composer",
    "meetme.catalog",
)


@click.group()
def database() -> None:
    """What the services of a member keep."""


@database.command(
    epilog="Example: meetme database copy --from sqlite:////var/lib/meetme/negotiator.db"
    " --to postgresql://meetme@db.example/meetme"
)
@click.option("--from", "source", required=True, metavar="URL", help="What to copy: sqlite:///PATH or postgresql://...")
@click.option("--to", "target", required=True, metavar="URL", help="An empty database, or a file that is made.")
@click.option("--running", is_flag=True, help="Also while a service works on it: a backup as of this moment.")
@click.option("--dry-run", is_flag=True, help="Say what would be copied, and whether it could be.")
@format_option
def copy(source: str, target: str, running: bool, dry_run: bool, form: str) -> int:
    """Copy a database: to move from SQLite to PostgreSQL (or back), or as a backup.

    What is copied was all true at one moment. The source is not changed; a target with tables of MeetMe is refused.
    """
    from meetme.cli.output import print_json, print_table
    from meetme.runtime.transfer import copied

    rows = copied(source, target, ROOMS, running=running, dry_run=dry_run)
    if form == "json":
        print_json({"tables": rows, "dry_run": dry_run})
        return 0
    print_table(("table", "rows"), ((name, str(number)) for name, number in rows.items()), empty="there are no tables")
    click.echo("nothing was written (dry run)" if dry_run else "copied", err=True)
    return 0
