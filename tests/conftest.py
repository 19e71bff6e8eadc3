"""Databases to test with: SQLite always, PostgreSQL where the machine has one."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

# Machines are entered by forking. For that gRPC has handlers, which take locks that its threads may hold.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# What an earlier test left to the garbage collector is not the child's: collected there, gRPC's locks wait for threads
# that the child does not have, and it dies.
os.register_at_fork(after_in_child=gc.freeze)


# What a helper asserts is told in as many words as what a test asserts.
pytest.register_assert_rewrite(*(f"tests.{part.name}" for part in Path(__file__).parent.iterdir() if part.is_dir()))


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL of our own, behind a socket in a folder of its own, gone at the end."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not programs or importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs PostgreSQL on this machine and psycopg (the extra 'postgresql')")
    # PostgreSQL refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="meetme-postgresql-"))
    if user:
        shutil.chown(folder, "postgres")
    run = [*user, "env", "-C", str(folder)]
    subprocess.run(
        [*run, programs[-1] / "initdb", "-D", "data", "-U", "meetme", "-A", "trust", "-N"],
        check=True, capture_output=True,
    )  # fmt: skip
    quick = "-c fsync=off -c full_page_writes=off -c max_wal_size=4GB"
    options = f"-c listen_addresses= -c unix_socket_directories={folder} {quick}"
    control = [*run, programs[-1] / "pg_ctl", "-D", "data", "-w", "-l", "log"]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True)
    try:
        yield f"postgresql://meetme@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
        shutil.rmtree(folder)


@pytest.fixture
def new_postgresql(postgresql_url: str) -> Iterator[Callable[[str], str]]:
    """Makes an empty PostgreSQL database of that name and gives its URL; they go with the test."""
    made: list[str] = []

    def make(name: str) -> str:
        _execute(postgresql_url, f"CREATE DATABASE {name}")
        made.append(name)
        return postgresql_url.replace("/postgres?", f"/{name}?")

    yield make
    for name in made:
        _execute(postgresql_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, on either engine; several processes may open it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    url: str = request.getfixturevalue("postgresql_url")
    _execute(url, "DROP SCHEMA public CASCADE")
    _execute(url, "CREATE SCHEMA public")
    return url


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
