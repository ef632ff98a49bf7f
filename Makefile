# What a person needs from a fresh clone: `make demo` and `make test`. Where packages come from is pip's own
# configuration; nothing here names an index. Versions come from the lock files, checked by hash.

# A Python of one's own: `make setup PYTHON=/path/to/python3.12`. 3.14 and newer come last: the embedded Redis server
# has no wheel there yet.
PYTHON ?=
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3)
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# A person's `user = true` in pip's configuration has no meaning in an environment of our own.
export PIP_USER := 0
# -qq: warnings of a person's pip configuration are not ours to repeat; errors still show.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
# --no-compile: Python compiles what it really imports at first use, a third of the time of compiling everything.
INSTALL := $(PIP) install --no-compile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# One recipe at a time: every step needs the same environment.
.NOTPARALLEL:

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup ## a whole run against the built-in simulator: no key, no cost
	@$(BIN)/vidbatch demo $(ARGS)

.PHONY: test
test: dev ## the tests, but for those marked slow, chaos or providers (ARGS="-k budget" narrows them)
	@$(BIN)/pytest -q -m "not slow and not chaos and not providers" -n 3 --dist worksteal $(ARGS)

.PHONY: walk
walk: dev ## type what README, quickstart and how-to pages tell people to type (some minutes)
	@$(BIN)/pytest -q -n 2 tests/acceptance/test_walkthroughs.py $(ARGS)

.PHONY: check
check: dev ## format, lint, types, direction of imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --quiet . && echo "ruff: nothing to say"
	@$(BIN)/mypy
	@said=$$($(BIN)/lint-imports --no-logo 2>&1) && echo "$$said" | tail -n 1 || { echo "$$said"; exit 1; }

.PHONY: format
format: dev ## write the code in the house's form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --quiet --fix .

.PHONY: setup
setup: $(VENV)/.installed ## make .venv with the command .venv/bin/vidbatch
	@:

.PHONY: dev
dev: $(VENV)/.installed-dev ## setup, and the tools that test and check
	@:

# Chance decides when a fault strikes, so the whole fault lab runs once for each of these.
FAULTLAB_SEEDS ?= 7 8 9

.PHONY: chaos
chaos: dev ## the tests that kill processes and servers, then the fault lab with several seeds (an hour)
	@echo "$(BIN)/pytest -m chaos -n 2 --dist worksteal $(ARGS)"
	@$(BIN)/pytest -m chaos -n 2 --dist worksteal $(ARGS)
	@failed=0; for seed in $(FAULTLAB_SEEDS); do $(BIN)/vidbatch faultlab --seed $$seed || failed=1; done; exit $$failed

# A real OpenAI-compatible server, in an environment of its own: it needs other versions of much that we use.
PROVIDERS := .providers

.PHONY: providers
providers: dev $(PROVIDERS)/.installed ## whole runs against a real OpenAI-compatible server, without any model
	@$(BIN)/pytest -q -m providers -n 0 $(ARGS)

$(PROVIDERS)/.installed:
	@echo "providers: installing a LiteLLM proxy into $(PROVIDERS) (some minutes)"
	@$(BIN)/python -m venv $(PROVIDERS)
	@$(PROVIDERS)/bin/python -m pip install -qq --no-compile "litellm[proxy]>=1.80"
	@touch $@

.PHONY: bench
bench: dev ## measure what the README says, and write benchmarks/RESULTS.md (an hour; wants a quiet machine)
	@$(BIN)/python -m benchmarks.throughput $(ARGS)

.PHONY: bench-pacing
bench-pacing: dev ## measure limits, polling and budgets: simulated time, then real parts (20 minutes)
	@failed=0; for part in pacing.virtual polling pacing_real; do \
		$(BIN)/python -m benchmarks.$$part || failed=1; \
	done; exit $$failed

.PHONY: bench-disk
bench-disk: dev ## measure planning, writing, recovering and publishing up to a million rows (10 minutes, 6 GB)
	@$(BIN)/python benchmarks/disk_scale.py $(ARGS)

.PHONY: audit
audit: dev ## look at the packages that run: advisories where they can be had, withdrawn versions, licences
	@$(BIN)/python -m tests.audit

.PHONY: docs
docs: setup ## write docs/reference.md and the table of docs/metrics.md from the code itself
	@$(BIN)/python -m pipeline.cli.reference docs/reference.md
	@$(BIN)/python -m pipeline.cli.metrics_table docs/metrics.md

# uv is the one that locks for every platform at once; it lives in a throwaway folder and nobody else needs it.
# Pins that still fit are kept: `make lock ARGS=--upgrade` takes the newest.
# hatchling and editables build this project; locked, the install of the project itself downloads nothing unpinned.
.PHONY: lock
lock: $(VENV)/.made ## write requirements*.lock anew from pyproject.toml
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(BIN)/python -m venv "$$folder/venv" && "$$folder/venv/bin/python" -m pip install -qq uv && \
	index=$${PIP_INDEX_URL:-$$($(PIP) config get global.index-url 2>/dev/null || true)} && \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi && \
	printf 'hatchling\neditables\n' > "$$folder/build.in" && \
	lock="$$folder/venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url pyproject.toml $$folder/build.in" && \
	$$lock $(ARGS) --output-file requirements.lock && \
	$$lock $(ARGS) --extra fleet --constraints requirements.lock --output-file requirements-fleet.lock && \
	$$lock $(ARGS) --extra fleet --extra dev --constraints requirements-fleet.lock \
		--output-file requirements-dev.lock && \
	for file in requirements.lock requirements-fleet.lock requirements-dev.lock; do \
		{ echo '# Made by `make lock` from pyproject.toml: every version, for every platform, with its hashes.'; \
		cat $$file; } > "$$folder/locked" && cat "$$folder/locked" > $$file && \
		echo "$$file: $$(grep -c '==' $$file) packages"; \
	done

.PHONY: secrets
secrets: ## what `docker compose up` needs, once: ./secrets, ./data and .env (VIDBATCH_API_KEY=… gives the key)
	@sh compose/secrets.sh

.PHONY: clean
clean: ## remove .venv and everything that tools left behind
	@rm -rf $(VENV) $(PROVIDERS) dist build .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean"

# Stamps, each written last: an interrupted step is done again.
$(VENV)/.made:
	@for python in $(PYTHONS); do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "setup: $(VENV) with $$($$python --version)"; \
			$$python -m venv $(VENV) && touch $@ && exit 0 || exit 1; \
		fi; \
	done; \
	echo "setup: needs Python 3.11 or newer with its venv module; tried: $(PYTHONS)." >&2; \
	echo "       Debian and Ubuntu: apt install python3.11-venv. Or: make setup PYTHON=/path/to/python" >&2; \
	exit 1

$(VENV)/.installed: $(VENV)/.made requirements.lock pyproject.toml
	@echo "setup: installing the versions of requirements.lock (half a minute the first time)"
	@$(INSTALL) --require-hashes --no-deps -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "setup: adding the tools of requirements-dev.lock"
	@$(INSTALL) --require-hashes --no-deps -r requirements-dev.lock
	@touch $@
