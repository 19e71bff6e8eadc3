"""Generate docs/reference from the code: `python scripts/reference [--check]`.

Each page comes from what the program itself uses, so it cannot tell another story: the help of the command line, the
errors in the source, the dataclasses of the settings, the OpenAPI documents, the .proto. With `--check` nothing is
written; the exit status is 1 when a page is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import commands_page
import grpc_page
import labs_page
import messages_page
import metrics_page
import policy_page
import problems_page
import rest_page
import settings_page

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "meetme"
PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page.page,
    "settings.md": lambda: settings_page.page(SOURCE),
    "rest.md": rest_page.page,
    "grpc.md": lambda: grpc_page.page(SOURCE / "configurator" / "v1" / "configurator.proto"),
    "labs.md": labs_page.page,
    "messages.md": messages_page.page,
    "policy.md": lambda: policy_page.page(SOURCE),
    "metrics.md": lambda: metrics_page.page(ROOT / "packaging" / "prometheus" / "alerts.yml"),
    "problems.md": lambda: problems_page.page(SOURCE),
}


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv:
            stale.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    if stale:
        print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
