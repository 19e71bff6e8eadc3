#!/bin/sh
# Resolves pyproject.toml into requirements/{runtime,dev}.lock: exact versions with hashes, for pip --require-hashes.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/pip install --quiet uv
.venv/bin/uv lock --quiet
.venv/bin/uv export --quiet --no-header --no-emit-project --no-default-groups --output-file requirements/runtime.lock
.venv/bin/uv export --quiet --no-header --no-emit-project --output-file requirements/dev.lock
rm uv.lock
