"""Generate the Python code of the configurator's contract: `python scripts/proto.py [DIRECTORY]` (default: `src`).

The `.proto` is named from the source root, so the generated modules import each other as
`meetme.configurator.v1.configurator_pb2` and nothing has to be rewritten afterwards. Messages and stubs are typed by
mypy-protobuf, whose plug-ins lie beside the running interpreter.
"""

import os
import sys
from pathlib import Path

from grpc_tools import protoc

SOURCE = Path(__file__).resolve().parent.parent / "src"
CONTRACTS = ("meetme/configurator/v1/configurator.proto",)


def generate(target: Path) -> int:
    """Write the generated modules below `target`; the exit status of protoc."""
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    outputs = [f"--{plugin}_out={target}" for plugin in ("python", "grpc_python", "mypy", "mypy_grpc")]
    return int(protoc.main(["protoc", f"-I{SOURCE}", *outputs, *CONTRACTS]))


if __name__ == "__main__":
    sys.exit(generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE))
