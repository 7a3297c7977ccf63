# A bare machine needs Python 3.11 or later, make and git; the rest is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
INSTALL := $(PIP) install --constraint constraints.txt --editable

.DEFAULT_GOAL := help
.PHONY: help run test check fix

help:  ## show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

run: .venv/run  ## plan DeepSeek-R1 on 16 H20, beside 16 H800 and 8 H200
	@$(BIN)/penjing plan --model deepseek-r1 --chips 16xH20 --compare 16xH800 --compare 8xH200 \
		--input 4096 --output 1536 --tpot 50ms

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
	@$(INSTALL) .
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
