# Two commands do all: `make demo` runs the main job, `make test` runs the tests.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow lint check bench-gateway bench-ledger bench-contract bench-release bench-soak bench-overload lock clean

# ARGS go to `pilotage demo`, e.g. make demo ARGS="--no-serve --json"
demo: $(READY)
	@$(BIN)/pilotage demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

# Tests that take minutes: kills, mutations, soaks.
test-slow: $(READY)
	$(BIN)/python -m pytest -m slow -n 2 --timeout 1800 $(ARGS)

lint: $(READY)
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

# All that CI runs.
check: lint test test-slow

bench-gateway: $(READY)
	@$(BIN)/python bench/gateway.py $(ARGS)

bench-ledger: $(READY)
	@$(BIN)/python bench/ledger.py $(ARGS)

bench-contract: $(READY)
	@$(BIN)/python bench/contract.py $(ARGS)

bench-release: $(READY)
	@$(BIN)/python bench/release.py $(ARGS)

bench-soak: $(READY)
	@$(BIN)/python bench/soak.py $(ARGS)

bench-overload: $(READY)
	@$(BIN)/python bench/overload.py $(ARGS)

$(READY): requirements/dev.txt pyproject.toml
	@echo "making .venv (once) ..." >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/installer.txt >&2
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . >&2
	@$(BIN)/python -m compileall -q src >/dev/null
	@touch $(READY)

# Renew the lock files; they name no host.
lock:
	requirements/lock.sh

clean:
	rm -rf .venv .pilotage
