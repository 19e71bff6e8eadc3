"""The command line's frame: verbs, exit status, words for what went wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import click
import pytest

from meetme.cli import output
from meetme.cli.main import SECTIONS, cli, run
from meetme.model import errors
from meetme.model.errors import Fault, InvalidInput, MeetMeError, Unreachable

VERBS = [verb for verbs in SECTIONS.values() for verb in verbs]


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^  {verb}  ", said, re.MULTILINE) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_teaches(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"meetme {verb}" in said
    assert len(said.splitlines()) > 4


@pytest.mark.parametrize("verb", VERBS)
def test_the_line_of_help_and_the_verb_agree(verb: str) -> None:
    place = next(verbs[verb][0] for verbs in SECTIONS.values() if verb in verbs)
    module, _, name = place.partition(":")
    command = getattr(import_module(module), name)
    assert isinstance(command, click.Command)
    assert command.name == verb


def test_help_imports_click_and_nothing_heavy() -> None:
    script = (
        "import sys; from meetme.cli.main import run; run(['--help']);"
        "heavy = {'rich', 'pydantic', 'fastapi', 'grpc', 'sqlalchemy', 'asyncio', 'httpx2', 'uvloop'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_mistyped_verb_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["negotate"]) == 2
    assert 'did you mean "negotiate"' in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from meetme import __version__

    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def kinds() -> list[type[MeetMeError]]:
    return MeetMeError.__subclasses__()


def documented() -> dict[str, int]:
    """Class → exit status, as the tree in the docstring has it."""
    rows = re.findall(r"[|`]- (\w+) +\d+ +[A-Z_]+ +(\d)", errors.__doc__ or "")
    return {name: int(status) for name, status in rows}


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_error_has_the_exit_status_of_the_tree(kind: type[MeetMeError]) -> None:
    assert output.EXIT_STATUS[kind] == documented()[kind.__name__]


def test_an_error_is_fact_code_and_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = InvalidInput("prefix_malformed", 'a: must be a prefix ("b")', hint="write 10.0.0.0/24")
    monkeypatch.setattr(cli, "main", _raiser(failure))
    assert run([]) == 2
    assert capsys.readouterr().err == 'error: a: must be a prefix ("b")  [prefix_malformed]\n  write 10.0.0.0/24\n'


def test_it_is_said_whose_fault_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert output.explain(Unreachable("peer_unreachable", "csp-b: does not answer")) == 4
    assert output.explain(MeetMeError("x", "it broke", fault=Fault.DEVICE)) == 1
    said = capsys.readouterr().err
    assert "the other side: csp-b: does not answer" in said
    assert "the device: it broke" in said


def test_a_defect_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("MEETME_DEBUG", raising=False)
    monkeypatch.setattr(cli, "main", _raiser(KeyError("nothing")))
    assert run([]) == 1
    said = capsys.readouterr().err
    assert "internal_error" in said
    assert "Traceback" not in said


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "main", _raiser(KeyboardInterrupt()))
    assert run([]) == 130
    assert "interrupted" in capsys.readouterr().err


def _raiser(error: BaseException):  # type: ignore[no-untyped-def]
    def main(**_: object) -> None:
        raise error

    return main


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("COLUMNS", "80")
    return monkeypatch


ID = "0b5c3f5e-6a1c-4d7e-9a47-3c1f0e6f2d11"


def table(capsys: pytest.CaptureFixture[str], columns: tuple[str, ...], *rows: tuple[str, ...]) -> list[str]:
    output.print_table(columns, rows, empty="nothing")
    return capsys.readouterr().out.splitlines()


def test_a_table_without_names_has_no_head(columns: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(capsys, ("", ""), ("python", "3.12"), ("labs", "no")) == ["python   3.12", "labs     no"]


def test_a_table_has_a_head_and_no_blank_edges(columns: object, capsys: pytest.CaptureFixture[str]) -> None:
    head, line, row = table(capsys, ("name", "state"), ("one", "active"))
    assert head.split() == ["name", "state"]
    assert set(line) == {"─"}
    assert row.split() == ["one", "active"]


def test_long_texts_fold_between_words(columns: object, capsys: pytest.CaptureFixture[str]) -> None:
    said = table(capsys, ("id", "why"), (ID, "the peer has answered that it cannot be reached by anybody today"))
    assert max(map(len, said)) <= 80
    assert ID in said[2]
    assert " ".join(line.removeprefix(ID).strip() for line in said[2:]).startswith("the peer has answered that it")


def test_what_does_not_fit_becomes_a_block_for_each_row(columns: object, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("id", "peer", "circuit", "state")
    first, second = (ID, "csp-b", f"direct:{ID}", "active"), (ID[::-1], "csp-c", "short", "failed")
    said = table(capsys, names, first, second)
    wanted = [*zip(names, first, strict=True), *zip(names, second, strict=True)]
    assert [tuple(line.split()) for line in said if line] == wanted
    assert said[4] == ""


def test_into_a_pipe_nothing_is_folded(columns: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    columns.delenv("COLUMNS")
    said = table(capsys, ("id", "why"), (ID, "word " * 60 + "end"))
    assert len(said) == 3
    assert said[2].endswith("word end")


def test_cells_are_shown_as_they_are(columns: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(capsys, ("", ""), ("csp-b", "https://[fe80::1]:8470"))[0].endswith("https://[fe80::1]:8470")


def test_no_colour_against_no_color(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda stream, color: color is False)
    explained = InvalidInput("code", "what: must be so")
    output.explain(explained)
    assert "\x1b[" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    output.explain(explained)
    assert "\x1b[" not in capsys.readouterr().err
