# Everything runs in .venv, which the first target that needs it builds from uv.lock.
# Needs only make and a Python >= 3.11 with the venv module. Another one: make PYTHON=/path/to/python3 ...

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
unexport PYTHONPATH PYTHONHOME
# Else each process of the tests would compile all modules, and rewrite all assertions, once more.
unexport PYTHONDONTWRITEBYTECODE

READY := .venv/.ready
REWRITTEN := .venv/.rewritten
SITE := build/site-venv/.ready
SITE_BIN := build/site-venv/bin
BIN := .venv/bin
UV := uv>=0.13,<1
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# As an installed program has it. Without this, each process compiles every module that it imports
# where PYTHONDONTWRITEBYTECODE is set, and starts in three times the time.
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/test_' \
	.venv/lib actors broker sdk store benchmarks examples tests || true
ARGS ?=
SEEDS ?= 1000
SEED ?=

# `python3` if it will do, else the newest that does. Runs each candidate, since a version
# manager may put names on the path that only print an error.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$p" && break; done)

.PHONY: agents help demo demo-cluster test check lint types unit ui-test ui-pictures site site-serve wheel-test crashes simulate differential differential-postgres takeovers powerloss fuzz mutants chaos chaos-brokers format lock proto clean

help: ## Show this list
	@echo 'understudy: durable async RPC between actor processes. Start with: make demo'
	@echo
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' \
		| while IFS='|' read -r name text; do printf '%-28s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'The first target that you run builds .venv, which takes under a minute.'
	@echo 'One test file: make unit ARGS="tests/structure/test_packaging.py -x"'

demo: $(READY) ## Run nine services and a gateway, kill a service and the gateway, and see the calls return
	@$(BIN)/python -m examples.async_rpc.demo $(ARGS)

demo-cluster: $(READY) ## Kill brokers and a database server under load, and see that no call is lost
	@$(BIN)/python -m examples.cluster.demo $(ARGS)

test: $(READY) ## Run everything that CI runs: check, then all tests
	@$(MAKE) --no-print-directory --jobs 3 check $(SITE) $(REWRITTEN)
	@echo '· tests, in four processes: many of them wait most of the time. The long files come first'
	@$(BIN)/pytest -q --numprocesses 4 --dist loadfile --no-loadscope-reorder

# Four processes that begin with the same files would each rewrite the assertions of all of them.
$(REWRITTEN): $(READY)
	@echo '· assertions of the tests, rewritten once for all processes'
	@$(BIN)/pytest --collect-only -qq > .venv/.collected || { tail -50 .venv/.collected >&2; exit 1; }
	@touch $@

check: lint types ## Check style, formatting, types and the contracts about imports

unit: $(READY) ## Run the unit tests, or the tests you name: ARGS="path -k name"
	@echo '· tests'
	@$(BIN)/pytest $(or $(ARGS),tests/unit)

ui-test: $(READY) ## Drive the dashboard with a headless Chromium: each screen, each deed, live
	@$(BIN)/pytest -q tests/integration/ui tests/unit/sdk/ui $(ARGS)

ui-pictures: $(READY) ## Take the pictures of the dashboard for the documentation
	@$(BIN)/python -m tests.integration.ui.pictures docs/pictures

site: $(SITE) ## Build the site of the documentation into build/site; a broken link or anchor fails
	@NO_MKDOCS_2_WARNING=1 $(SITE_BIN)/mkdocs build --quiet --strict $(ARGS)
	@echo '· build/site/index.html'

site-serve: $(SITE) ## Show the site at http://127.0.0.1:8000, and follow changes of the pages
	@NO_MKDOCS_2_WARNING=1 $(SITE_BIN)/mkdocs serve $(ARGS)

$(SITE): pyproject.toml uv.lock $(READY)
	@echo '· what the site is built with, in build/site-venv'
	@UV_PROJECT_ENVIRONMENT=build/site-venv $(BIN)/uv sync --quiet --frozen --only-group docs
	@touch $@

wheel-test: $(READY) ## Install the wheel for each Python that is supported, and use it: ARGS="3.12"
	@$(BIN)/python -m tests.wheels $(ARGS)

crashes: $(READY) ## Crash each program at every step, and the small ones at each pair of steps
	@$(BIN)/python -m tests.simulation.every_step $(ARGS)

simulate: $(READY) ## Simulate whole systems with faults of all kinds: SEEDS=n of them, or SEED=k alone with its trace
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

differential: $(READY) ## Compare the store in memory with the one over SQLite: COMMANDS=1000000 SEED=1
	@$(BIN)/python -m tests.differential --commands $(or $(COMMANDS),1000000) --seed $(or $(SEED),1) $(ARGS)

differential-postgres: $(READY) ## Compare the store in memory with the one over PostgreSQL: COMMANDS=50000 SEED=1
	@$(BIN)/python -m tests.differential --postgres --commands $(or $(COMMANDS),50000) --seed $(or $(SEED),1) $(ARGS)

takeovers: $(READY) ## Kill, stop and cut off brokers over one PostgreSQL at random: MINUTES=1 SEED=1
	@$(BIN)/python -m tests.takeovers --minutes $(or $(MINUTES),1) --seed $(or $(SEED),1) $(ARGS)

powerloss: $(READY) ## Cut the power at any moment of a store's life: IMAGES=10000 SEED=1
	@$(BIN)/python -m tests.powerloss --images $(or $(IMAGES),10000) --seed $(or $(SEED),1) $(ARGS)

fuzz: $(READY) ## Send hostile frames to a real broker while others use it: FRAMES=1000000 SEED=1
	@$(BIN)/python -m tests.fuzz --frames $(or $(FRAMES),1000000) --seed $(or $(SEED),1) $(ARGS)

mutants: $(READY) ## Put small faults into the code, each of which the tests must notice; ARGS="name*" for some
	@$(BIN)/python -m tests.mutants $(ARGS)

agents: .venv/.agents ## Run agents of pydantic-ai, the OpenAI agents SDK and LangGraph, kill them and go on
	@$(BIN)/python -m tests.agents

chaos: $(READY) ## Kill and stop real processes at random, and check every call: MINUTES=10 SEED=1
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) $(ARGS)

chaos-brokers: $(READY) ## The same with brokers that share one PostgreSQL, which dies too: MINUTES=10 SEED=1
	@$(BIN)/python -m tests.chaos --brokers --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) $(ARGS)

bench: $(READY) ## Measure speed beside the bare pipeline: a table, benchmarks/results/latest.json and charts
	@$(COMPILE)
	@$(BIN)/python -m benchmarks run $(ARGS)

bench-guard: $(READY) ## Compare the ratio to the bare pipeline with the recorded one
	@$(COMPILE)
	@$(BIN)/python -m benchmarks guard $(ARGS)

bench-brokers: $(READY) ## Measure one broker and several, over SQLite and over PostgreSQL
	@$(COMPILE)
	@$(BIN)/python -m benchmarks brokers $(ARGS)

bench-peers: $(READY) ## Measure speed beside other systems, which it installs; goes on after an interruption
	@$(COMPILE)
	@$(BIN)/python -m benchmarks peers $(ARGS)

lint: $(READY) ## Run only ruff and the contracts about imports
	@echo '· style and formatting'
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . \
		|| { echo 'Files above are not formatted. Try: make format' >&2; exit 1; }
	@echo '· contracts about imports'
	@$(BIN)/lint-imports --no-logo > .venv/.imports 2>&1 || { cat .venv/.imports >&2; exit 1; }

types: $(READY) ## Run only mypy, in strict mode
	@echo '· types'
	@$(BIN)/mypy

format: $(READY) ## Format the code, and apply ruff's fixes
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

proto: $(READY) ## Generate the code of the gRPC service from its .proto
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc --proto_path=sdk \
		--python_out=sdk --grpc_python_out=sdk --mypy_out=quiet:sdk --mypy_grpc_out=quiet:sdk \
		sdk/understudy/edge/grpc/v1/understudy.proto

lock: $(READY) ## Update uv.lock after a change of dependencies in pyproject.toml
	@$(BIN)/uv lock

clean: ## Remove .venv, caches and built files
	@rm -rf .venv dist build benchmarks/results benchmarks/peers/.envs .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock gives versions and hashes; whence they come is the machine's affair. uv takes a second and
# pip half a minute, but only pip knows an index that was configured for pip.
define INSTALL
@$(BIN)/uv export --quiet --frozen $(1) --no-emit-project --no-header \
	--format requirements-txt --output-file .venv/requirements.txt > /dev/null
@if $(BIN)/python -m pip config list | grep -q 'index'; then false; else \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes \
		--requirement .venv/requirements.txt; \
fi || { echo '· the same by pip, with its own index (slower)'; \
	$(PIP) install --no-compile --require-hashes --requirement .venv/requirements.txt; }
endef

$(READY): pyproject.toml uv.lock
	@[ -n '$(PYTHON)' ] || { \
		echo 'understudy needs Python 3.11 or newer, with the venv module, and none was found.' >&2; \
		echo 'Install one (Debian: apt install python3 python3-venv), or: make PYTHON=/path/to/it' >&2; \
		exit 1; }
	@echo "· .venv with $$('$(PYTHON)' --version)"
	@'$(PYTHON)' -m venv .venv
	@echo '· uv, which reads the lock'
	@$(PIP) install '$(UV)'
	@echo '· locked dependencies, checked by hash'
	$(call INSTALL,--all-extras)
	@echo '· understudy itself, editable'
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(COMPILE)
	@touch $@

.venv/.agents: $(READY)
	@echo '· libraries for agents'
	$(call INSTALL,--only-group agents)
	@touch $@
