"""The generated code is that of the contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = Path("meetme/configurator/v1")


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "proto.py", tmp_path], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / GENERATED).iterdir()}
    assert set(made) == {f"configurator_pb2{end}" for end in (".py", ".pyi", "_grpc.py", "_grpc.pyi")}
    for name, text in made.items():
        assert (ROOT / "src" / GENERATED / name).read_text() == text, f"{name} is stale: run `make proto`"
