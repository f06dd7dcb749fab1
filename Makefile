# Each target does its own set-up; a second run of it takes a second.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test quick test-python test-wheel test-clean-clone test-picamera2 test-systemd test-home-assistant lint format bench fuzz history faults machine toggles interrupts cuts docs
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

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(BIN)/python -m pytest

# Unit, thread and contract tests: no server, under a minute.
quick: setup
	@$(BIN)/python -m pytest -q tests/unit tests/threads tests/contract

# The same on another Python than .venv's, when there is one.
test-python: setup
	@$(BIN)/python tools/other_python.py

# The wheel, in a clean environment for each extra.
test-wheel: setup
	@$(BIN)/python tools/wheel_check.py

# What the README says, as a new user on a new Debian (root needed): SUITE=trixie has Python 3.13, forky 3.14.
test-clean-clone: setup
	@$(BIN)/python tools/clean_clone_root.py --suite $(or $(SUITE),trixie)

# The real picamera2 on real libcamera, in a cached Debian root (root needed; the first run builds it: minutes).
test-picamera2: setup
	@$(BIN)/python tools/picamera2_root.py

# The real systemd, booted in a cached Debian root (root needed; the first run builds it: minutes).
test-systemd: setup
	@$(BIN)/python tools/systemd_root.py

# Home Assistant's own schemas, in a cached Debian root of their own.
test-home-assistant: setup
	@$(BIN)/python tools/home_assistant_root.py

bench: setup
	@$(BIN)/python -m benchmarks

fuzz: setup
	@UTD_FUZZ_CASES=5000 $(BIN)/python -m pytest -s tests/integration/test_engine_openapi.py

# 24,000 random operations while keys are made, revoked and rotated; UTD_HISTORY_SEED repeats what was asked for.
history: setup
	@UTD_KEY_OPERATIONS=24000 $(BIN)/python -m pytest -s tests/integration/test_engine_key_history.py

# Sixty faults in five phases with three seeds, three cells side by side, half an hour: writes docs/fault-matrix.json
# and the page made of it. ARGS="--seed 1 --only /active --workers 2" chooses cells, and writes nothing.
faults: setup
	@$(BIN)/python tests/faults/matrix.py $(ARGS); result=$$?; $(BIN)/python docs/generate.py; exit $$result

# The long forms: a million spoilt inputs, a million calls of eight threads, 100,000 deliveries of rings, all states of
# caller, callee and engine, their timers in virtual time, ten thousand long sequences in rooms. Two hours.
machine: setup
	@UTD_MUTATIONS=1000000 UTD_RING_DELIVERIES=100000 UTD_PRODUCT_STATES=1000000 UTD_ROOM_EXAMPLES=5000 UTD_CALL_TIMERS_DEPTH=3 \
		UTD_RANDOM_CALLS=1000000 UTD_CALLBACK_STRIDE=1 UTD_STORM_DELIVERIES=1000 \
		$(BIN)/python -m pytest -s --timeout 14400 tests/integration/test_mutations.py tests/unit/test_ring_model.py \
		tests/unit/test_call_product.py tests/unit/test_call_timers.py tests/integration/test_room_machine.py tests/integration/test_every_method.py \
		tests/integration/test_ring_storm.py

# 500 mutes and unmutes while the link is cut for 1 to 30 s (root needed), and 2,000 interrupts of each operation.
toggles: setup
	@$(BIN)/python -m benchmarks.toggles

interrupts: setup
	@$(BIN)/python -m benchmarks.interrupts

# Cuts, half-open connections, dead servers and dead peers, 20 times each (root needed).
cuts: setup
	@$(BIN)/python -m benchmarks.cuts

docs: setup
	@$(BIN)/python docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "build/site/index.html"
