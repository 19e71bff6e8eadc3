# MeetMe. `make demo` shows the main job, `make test` proves it; both set up all they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
# A file of tests stays in one process: its machines and members are built once.
PARALLEL ?= -n 2 --dist loadfile
export PYTHON

.DEFAULT_GOAL := help
# Several goals under `make -j` share one environment: they wait for each other.
.NOTPARALLEL:
.PHONY: help demo test test-all test-kernel check fix proto docs lock simulate clean

##@ Use
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## A service ordered over three exchanges; real packets both ways; nothing left behind
	@$(BIN)/meetme demo $(DEMO_ARGS)

##@ Prove
test: $(VENV)/.dev ## Fast, golden, contract, simulation and live tests (under 15 minutes)
	@$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-all: $(VENV)/.dev check ## Everything, the long runs too
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-kernel: $(VENV)/.dev ## 802.1Q, in a virtual machine with Debian's kernel; ARGS: other tests (3 minutes)
	@VENV=$(VENV) scripts/test-kernel.sh $(ARGS)

check: $(VENV)/.dev ## Formatting, lint, types, import rules, generated code
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/reference --check

simulate: $(VENV)/.dev ## Replay one seed of the simulation: make simulate SEED=42
	@$(BIN)/python -m tests.simulation $(SEED)

##@ Change
fix: $(VENV)/.dev ## Format and apply what the linter can mend by itself
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

proto: $(VENV)/.dev ## Generate the gRPC code from configurator.proto
	@$(BIN)/python scripts/proto.py

docs: $(VENV)/.dev ## Generate docs/reference from the code
	@$(BIN)/python scripts/reference

lock: $(VENV)/.dev ## Resolve the dependencies anew into requirements/*.lock
	@scripts/lock.sh

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- set-up ------------------------------------------------------------------------------------------------------------

# pip comes last into a new environment: where it is, nothing was interrupted half-way.
$(BIN)/pip:
	@scripts/system-packages.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; $(PYTHON) is older. Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.lock pyproject.toml | $(BIN)/pip
	@echo "Installing what meetme needs into $(VENV) ..." >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(BIN)/pip
	@echo "Installing what the tests need into $(VENV) ..." >&2
	@scripts/system-packages.sh --tests
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@$(BIN)/python -m compileall -q src tests
	@touch $@ $(VENV)/.runtime
