"""Record what `make demo` prints: `python scripts/recording.py` writes it into the README, as it came.

Nothing is made up or cut; whoever runs it on a machine that does other things will see it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PLACE = re.compile(r"(<!-- recorded: scripts/recording.py -->\n```text\n).*?(```\n)", re.DOTALL)


def main() -> int:
    """Run it, and keep what it said if it went well."""
    told = subprocess.run(
        [Path(sys.executable).parent / "meetme", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    if told.returncode != 0:
        print(told.stdout, file=sys.stderr)
        return 1
    text = README.read_text()
    changed, places = PLACE.subn(lambda found: found[1] + told.stdout.strip("\n") + "\n" + found[2], text)
    if places != 1:
        print("README.md: must have one place for it", file=sys.stderr)
        return 1
    README.write_text(changed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
