"""`meetme account ...`: who may log in to the catalogue's web page, and what each may do there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click
from click.shell_completion import CompletionItem

from meetme.catalog.accounts import Role
from meetme.cli.output import format_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meetme.catalog.accounts import Account
    from meetme.runtime.database import Database

P = ParamSpec("P")
R = TypeVar("R")


@click.group()
def account() -> None:
    """Who may log in to the catalogue's web page, and what each may do there.

    The verbs work on the catalogue's database, also while it runs, with the settings of meetme serve catalog: run them
    as the same user. Every change ends what the account is logged in to at that moment.
    """


class AccountName(click.ParamType[str]):
    """An account that is there."""

    name = "account"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The accounts, each with its roles; none where the database cannot be read."""
        from meetme.catalog import accounts_store

        try:
            with _opened(ctx.params.get("config"), ctx.params.get("database"), new=False) as database:
                found = database.read_now(accounts_store.every)
        except Exception:
            return []
        return [CompletionItem(each.name, help=_roles(each)) for each in found if each.name.startswith(incomplete)]


name_argument = click.argument("name", type=AccountName())
role_option = click.option(
    "--role",
    "roles",
    type=click.Choice([role.value for role in Role]),
    multiple=True,
    required=True,
    help="What it may do; repeatable. Whoever may order or approve may read.",
)


def database_options(command: Callable[P, R]) -> Callable[..., R]:
    """`--config` and `--database`: where the accounts are kept."""
    options = (
        click.option(
            "--config", type=click.Path(path_type=Path), envvar="MEETME_CONFIG", help="That of meetme serve catalog."
        ),
        click.option(
            "--database", help="sqlite:///PATH or postgresql://...  [default: as the settings, or the state folder]"
        ),
    )
    decorated: Callable[..., R] = command
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def password_options(command: Callable[P, R]) -> Callable[..., R]:
    """Where a new password comes from, as `password`: never from the command line, which others can see."""

    @wraps(command)
    def asked(*args: Any, password_file: str | None, generate: bool, **given: Any) -> R:
        if password_file is not None and generate:
            raise click.UsageError("--password-file and --generate exclude each other")
        return command(*args, password=_password(given["name"], password_file, generate), generated=generate, **given)  # type: ignore[arg-type]

    with_file = click.option(
        "--password-file", metavar="PATH", help="Read it from the first line of a file; -: of the standard input."
    )
    return with_file(click.option("--generate", is_flag=True, help="Make one up and print it.")(asked))


@account.command(epilog="Example: meetme account add anna --role order --role approve")
@click.argument("name")
@role_option
@password_options
@database_options
@format_option
def add(
    name: str,
    roles: tuple[str, ...],
    password: str,
    generated: bool,
    config: Path | None,
    database: str | None,
    form: str,
) -> int:
    """Let somebody log in. The password is asked for twice.

    read: see offers, orders and connections. order: also order services and take them back. approve: also decide about
    orders of other members.
    """
    import time

    from meetme.catalog import accounts_store

    verifier = accounts_store.Verifier.of(name, password)
    with _opened(config, database) as opened:
        made = opened.run_now(lambda tx: accounts_store.add(tx, name, verifier, map(Role, roles), time.time()))
    return _say(made, f"{made.name} may log in: {_roles(made)}", form, password if generated else None)


@account.command(name="list")
@database_options
@format_option
def list_(config: Path | None, database: str | None, form: str) -> int:
    """Everybody who may log in, with their roles."""
    from datetime import UTC, datetime

    from meetme.catalog import accounts_store
    from meetme.cli.output import print_json, print_table

    with _opened(config, database) as opened:
        found = opened.run_now(accounts_store.every)
    if form == "json":
        print_json([_json(each) for each in found])
        return 0
    rows = [
        (each.name, _roles(each), datetime.fromtimestamp(each.changed, UTC).strftime("%Y-%m-%d %H:%M"))
        for each in found
    ]
    empty = "nobody may log in yet; the first one: meetme account add NAME --role order --role approve"
    print_table(("name", "may", "changed"), rows, empty=empty)
    return 0


@account.command(epilog="Example: meetme account password anna --generate")
@name_argument
@password_options
@database_options
@format_option
def password(name: str, password: str, generated: bool, config: Path | None, database: str | None, form: str) -> int:
    """Give NAME another password. It is asked for twice."""
    import time

    from meetme.catalog import accounts_store

    verifier = accounts_store.Verifier.of(name, password)
    with _opened(config, database) as opened:
        changed = opened.run_now(lambda tx: accounts_store.set_password(tx, name, verifier, time.time()))
    return _say(changed, f"{changed.name} has another password", form, password if generated else None)


@account.command(epilog="Example: meetme account roles anna --role read")
@name_argument
@role_option
@database_options
@format_option
def roles(name: str, roles: tuple[str, ...], config: Path | None, database: str | None, form: str) -> int:
    """Let NAME do this and nothing else."""
    import time

    from meetme.catalog import accounts_store

    with _opened(config, database) as opened:
        changed = opened.run_now(lambda tx: accounts_store.set_roles(tx, name, map(Role, roles), time.time()))
    return _say(changed, f"{changed.name} may: {_roles(changed)}", form)


@account.command(epilog="Example: meetme account remove anna")
@name_argument
@database_options
def remove(name: str, config: Path | None, database: str | None) -> int:
    """Let NAME log in no more. What it has ordered stays."""
    import time

    from meetme.catalog import accounts_store

    with _opened(config, database) as opened:
        opened.run_now(lambda tx: accounts_store.remove(tx, name, time.time()))
    click.echo(f"{name} may log in no more")
    return 0


# --- the database, the password ---------------------------------------------------------------------------------------


@contextmanager
def _opened(config: Path | None, database: str | None, *, new: bool = True) -> Iterator[Database]:
    """The catalogue's database. `new`: make it if there is none, so that accounts can be there before the server."""
    from meetme.catalog.settings import CatalogSettings
    from meetme.cli.serve import SERVICES
    from meetme.cli.serving import default_database, resolved
    from meetme.runtime.database import Database, migrate
    from meetme.runtime.settings import SettingsFile

    file = SettingsFile.read(config, services=("member", *SERVICES)) if config else SettingsFile()
    settings = resolved(CatalogSettings, "catalog", file, {"database": database})
    url = settings.database or default_database("catalog")
    if not new and url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise FileNotFoundError(url)
    opened = Database.open(url)
    try:
        if new:
            migrate(opened, "meetme.catalog")
        yield opened
    finally:
        opened.close_now()


def _password(name: str, file: str | None, generate: bool) -> str:
    from meetme.catalog.accounts import normal_name, normal_password, password_problems
    from meetme.model.errors import NotFound, raise_problems

    if generate:
        from meetme.catalog.accounts_store import generated_password

        return generated_password()
    if file is not None:
        try:
            text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(
                "password_unreadable", f'password_file: must be a file that can be read ("{file}": {error})',
                field="password_file",
            ) from None  # fmt: skip
        return (text.splitlines() or [""])[0]
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask for the password at: --password-file PATH (or -), or --generate")
    first: str = click.prompt("Password", hide_input=True, err=True)
    # Said before it has to be typed again.
    raise_problems(password_problems(normal_name(name), normal_password(first)))
    if click.prompt("Once more", hide_input=True, err=True) != first:
        raise click.UsageError("the two were not the same; nothing was changed")
    return first


# --- what is shown ----------------------------------------------------------------------------------------------------


def _say(changed: Account, words: str, form: str, password: str | None = None) -> int:
    from meetme.cli.output import print_json

    if form == "json":
        print_json(_json(changed) | ({} if password is None else {"password": password}))
        return 0
    click.echo(words, err=password is not None)
    if password is not None:
        click.echo(password)
    return 0


def _roles(account: Account) -> str:
    return ", ".join(role for role in Role if account.may(role))


def _json(account: Account) -> dict[str, Any]:
    return {"name": account.name, "roles": [role for role in Role if account.may(role)], "changed": account.changed}
