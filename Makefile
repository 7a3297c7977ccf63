# A bare machine needs Python 3.11 or later, make and git; the rest is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
INSTALL := $(PIP) install --constraint constraints.txt --editable

.DEFAULT_GOAL := help
.PHONY: help run test check fix

help:  ## show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

run: .venv/run  ## the whole R1 recipe, small: base, R1-Zero, R1, students, and its report
	@$(BIN)/penjing train quickstart --run-dir runs/quickstart --resume
	@$(BIN)/penjing report runs/quickstart

test: .venv/test  ## run every test
	@$(BIN)/python -m pytest -q -n auto

check: .venv/test  ## lint, formatting, types, imports between rooms
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

fix: .venv/test  ## repair what ruff can, and format
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

# Stamps: what was installed last, and when. The test extra includes what a run needs.
.venv/run: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing penjing into .venv"
	@$(INSTALL) '.[run]'
	@touch $@

.venv/test: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing penjing and its tools into .venv"
	@$(INSTALL) '.[test]'
	@touch .venv/run $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) lacks venv; install it (on Debian: python3-venv)" >&2; exit 1; }
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
