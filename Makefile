# Each target does its own set-up; a second run of it takes a second.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint bench fuzz docs
.DEFAULT_GOAL := test

setup:
	@$(PYTHON) tools/setup.py

demo: setup
	@$(BIN)/utdstream demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest

bench: setup
	@$(BIN)/python -m benchmarks

fuzz: setup
	@UTD_FUZZ_CASES=5000 $(BIN)/python -m pytest -s tests/integration/test_engine_openapi.py

docs: setup
	@$(BIN)/python docs/generate.py
