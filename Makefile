# Two commands matter: `make demo` shows the main job, `make test` runs everything.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_VENV ?= .venv-demo
# How many tests run at once: one more than there are processors, as they wait a lot.
LANES ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))
export LANES
# Real daemons leave a lane even more time.
E2E_LANES ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) * 2)))
# Thousands of commands are run: each would compile everything again where the environment forbids to keep it.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit e2e matrix lowest chaos bench schemas clean

help:           ## what there is
	@sed -n 's/^\([a-z0-9_-]*\): .*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

$(VENV)/.done: pyproject.toml
	scripts/make_venv.sh "$(PYTHON)" "$(VENV)" -e '.[dev]'
	@touch $@

$(DEMO_VENV)/.done: pyproject.toml $(shell find reconciler -name '*.py' -o -name '*.j2' -o -name '*.json')
	scripts/make_venv.sh "$(PYTHON)" "$(DEMO_VENV)" '.[sandbox]'
	@touch $@

demo: $(DEMO_VENV)/.done  ## the main job on this machine: sandbox, plan, apply, a workflow's task, destroy
	@scripts/demo.sh "$(abspath $(DEMO_VENV))/bin"

test: lint unit e2e matrix lowest  ## everything

lint: $(VENV)/.done  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.done  ## what needs no daemon
	$(BIN)/python -m pytest -m "not e2e" -n $(LANES) --dist worksteal

e2e: $(VENV)/.done  ## real daemons, a real broker, a real Slurm
	LANES=$(E2E_LANES) scripts/e2e.sh "$(BIN)/python"

matrix: $(VENV)/.done  ## what needs no daemon, on every supported Python of this machine
	scripts/matrix.sh "$(BIN)/python"

lowest: $(VENV)/.done  ## what needs no daemon, with the lowest versions of Python and of all dependencies
	scripts/lowest.sh "$(BIN)/python"

chaos: $(VENV)/.done  ## commands killed at random moments: KILLS=1000 SEEDS="1 2 3"
	scripts/chaos.sh "$(BIN)/python"

bench: $(DEMO_VENV)/.done  ## the peers side by side, as ratios
	$(DEMO_VENV)/bin/python -m benchmarks.run

schemas: $(VENV)/.done  ## write schemas/ from the models
	$(BIN)/python scripts/generate_schemas.py

clean:          ## remove what make made
	rm -rf .venv .venv-demo .venv-matrix .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
