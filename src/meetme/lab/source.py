"""A lab's directory: finds it, reads its files and plans it. What it cannot read is one clear error."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from meetme.lab.labconf import LabConf, Mistake, parse_conf, parse_dependencies, stop_at
from meetme.lab.plan import Plan, plan_lab
from meetme.model.errors import InvalidInput, NotFound

SHARED_STARTUP = "shared"


@dataclass(frozen=True, slots=True)
class LabSource:
    """A lab on disk: its directory (resolved) and the plan of what is in it."""

    directory: Path
    plan: Plan


def shipped_labs() -> dict[str, Path]:
    """The labs that come with the package, by name."""
    # Machines see the host's file system, so the labs must be real files: the package is never imported from a zip.
    folder = Path(str(resources.files("meetme"))) / "labs"
    return {entry.name: entry for entry in sorted(folder.iterdir()) if (entry / "lab.conf").is_file()}


def find_lab(name: str) -> Path:
    """The directory that `name` means: a path that holds a lab.conf, else a shipped lab. Raises NotFound."""
    path = Path(name)
    if (path / "lab.conf").is_file():
        return path.resolve()
    shipped = shipped_labs()
    if name in shipped:
        return shipped[name].resolve()
    rule = (
        "a lab is a directory with a lab.conf" if path.is_dir() else "a lab is a directory or the name of a shipped lab"
    )
    raise NotFound("lab_not_found", f'{rule} ("{name}")', hint=f"shipped labs: {', '.join(shipped)}", field="DIR")


def read_lab(directory: Path) -> LabSource:
    """Read and plan the lab in `directory`. Raises InvalidInput that shows every mistake of all its files."""
    mistakes: list[Mistake] = []
    conf = parse_conf(_read(directory / "lab.conf"), mistakes)
    entries = sorted(directory.iterdir())
    files = frozenset(entry.name for entry in entries if entry.is_file())
    folders = frozenset(entry.name for entry in entries if entry.is_dir())
    dependencies = directory / "lab.dep"
    after = parse_dependencies(_read(dependencies), conf.machine_names, mistakes) if dependencies.is_file() else {}
    mistakes += _strangers(conf, files)
    stop_at(mistakes)
    return LabSource(directory, plan_lab(conf, name=directory.name, files=files, folders=folders, after=after))


def _strangers(conf: LabConf, files: frozenset[str]) -> list[Mistake]:
    known = (*conf.machine_names, SHARED_STARTUP)
    return [
        Mistake(file, 0, f'no such machine in lab.conf ("{file.removesuffix(".startup")}")')
        for file in sorted(files)
        if file.endswith(".startup") and file.removesuffix(".startup") not in known
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as wrong:
        raise InvalidInput("lab_invalid", f"{path.name}: a file of a lab is UTF-8 (octet {wrong.start})") from None
    except OSError as wrong:
        raise InvalidInput("lab_unreadable", f"{path}: cannot be read ({wrong.strerror})") from None
