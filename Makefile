# The whole tool belt: demo, test, lint, bench. Each makes what it needs in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint bench clean

## demo: back up a throwaway project on this machine
demo: $(VENV)/sandbox.stamp
	$(BIN)/backupd demo $(ARGS)

## test: run every test whose server is here; ARGS are pytest's
test: $(VENV)/test.stamp
	$(BIN)/python -m pytest $(ARGS)

## lint: style, types, and who may import whom
lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

## bench: measure against a bare fetch and the usual script; ARGS as in tests/benchmarks
bench: $(VENV)/test.stamp
	$(BIN)/python -m tests.benchmarks $(ARGS)

clean:
	rm -rf $(VENV)

$(VENV)/%.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[$*]'
	touch $@
