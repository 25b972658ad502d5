# Two commands do everything from a clean clone: `make run` and `make test`.
# What gets installed is in requirements/*.lock, by hash and without any address.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
INTEROP := .cache/interop
UV := PYTHON=$(PYTHON) tools/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test check format bench soak conformance interop go-programs lock vendor upgrade proto clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMPS)/dev ## everything to develop with, in .venv

run: $(STAMPS)/run ## control plane, agent and a sample shop on this machine (ARGS="..." goes to `sealwire up`)
	@$(BIN)/python -m sealwire up $(ARGS)

test: $(STAMPS)/dev interop ## every test, real tracers and a real PostgreSQL among them (ARGS="..." goes to pytest)
	@tools/system_packages.sh
	@$(BIN)/python -m pytest -m "not soak" $(ARGS)

check: $(STAMPS)/dev ## lint, format, types, import rules, locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@tools/check_locks.sh
	@$(PYTHON) tools/vendor.py --check

format: $(STAMPS)/dev ## write the code the way `check` wants it
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(STAMPS)/dev ## every benchmark, or BENCH="polls verify": prints tables, writes bench/results/
	@$(BIN)/python -m bench $(BENCH)

soak: $(STAMPS)/dev interop ## the long tests: crashes, floods, hours
	@tools/system_packages.sh
	@$(BIN)/python -m pytest -m soak --timeout 0 $(ARGS)

conformance: $(STAMPS)/dev ## the public tuf-conformance suite against our client core (SUITE=its checkout)
	@tools/system_packages.sh --faketime
	@tests/interop/conformance.sh "$(SUITE)" $(ARGS)

lock: ## make the locks agree with what pyproject.toml and requirements/*.in ask for
	$(COMPILE) $(UPGRADE) requirements/bootstrap.in -o requirements/bootstrap.lock
	$(COMPILE) $(UPGRADE) pyproject.toml --all-extras -c requirements/bootstrap.lock -o requirements/dev.lock
	$(COMPILE) $(UPGRADE) pyproject.toml --extra cli --extra agent --extra server --extra demo \
		-c requirements/dev.lock -o requirements/run.lock
	$(COMPILE) $(UPGRADE) pyproject.toml --extra agent -c requirements/run.lock -o src/sealwire/server/agent.lock
	$(COMPILE) $(UPGRADE) requirements/interop-ddtrace4.in -o requirements/interop-ddtrace4.lock
	$(COMPILE) $(UPGRADE) requirements/interop-ddtrace3.in -o requirements/interop-ddtrace3.lock
	@if command -v npm >/dev/null; then for folder in tests/interop/node tests/interop/oidc tools/vendor; do (cd $$folder && \
		npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --silent && \
		$(PYTHON) $(CURDIR)/tools/strip_npm_lock.py package-lock.json) || exit 1; done; fi
	@tools/check_locks.sh

vendor: ## refresh the foreign files of the web pages (needs npm); the outputs are committed
	@$(PYTHON) tools/vendor.py

upgrade: ## the same, moving every version to the newest allowed
	@$(MAKE) lock UPGRADE=--upgrade

proto: $(STAMPS)/dev ## the Python of remoteconfig.proto
	$(BIN)/python -m grpc_tools.protoc -I src --python_out=src --mypy_out=src \
		--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy src/sealwire/wire/remoteconfig.proto

clean: ## remove what was installed and cached
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- how things get installed ---------------------------------------------------------------------------------

# pip brings uv and the build backend; `--python` so that neither ensurepip nor a change to the system is needed.
$(STAMPS)/uv: requirements/bootstrap.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Sealwire needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up $(VENV)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-input \
		--require-hashes -r requirements/bootstrap.lock
	@mkdir -p $(@D) && touch $@

# Development holds all that running needs, at the same versions, so either stamp lets `make run` go.
$(STAMPS)/dev: requirements/dev.lock pyproject.toml | $(STAMPS)/uv
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/bootstrap.lock requirements/dev.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@ $(STAMPS)/run

$(STAMPS)/run: requirements/run.lock pyproject.toml | $(STAMPS)/uv
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements/run.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

interop: $(INTEROP)/ddtrace4/.stamp $(INTEROP)/ddtrace3/.stamp $(INTEROP)/node/.stamp $(INTEROP)/oidc/.stamp go-programs ## the foreign programs the tests run, each in a place of its own

$(INTEROP)/ddtrace%/.stamp: requirements/interop-ddtrace%.lock | $(STAMPS)/uv
	@echo "setting up $(@D)" >&2
	@$(UV) venv --quiet --clear --python $(BIN)/python $(@D)
	@$(UV) pip sync --quiet --python $(@D)/bin/python --require-hashes $<
	@touch $@

# Parts of the Go Agent; without Go or their modules they are left out, and the tests that want them skip and say so.
go-programs: | $(STAMPS)/dev
	@$(BIN)/python -m tests.support.go_programs

# Without node these are left undone, and the tests that want them skip and say so.
$(INTEROP)/node/.stamp $(INTEROP)/oidc/.stamp: $(INTEROP)/%/.stamp: tests/interop/%/package.json tests/interop/%/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "setting up $(@D)" >&2; mkdir -p $(@D) && cp $^ $(@D)/ && \
		(cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --silent) && touch $@; fi
