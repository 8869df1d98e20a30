# Every target sets up what it needs by itself and is quick when nothing changed.
# Needed beforehand: Python 3.11 or newer (with venv), git and make.

VENV := .venv
TOOLS := .cache/tools
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS_READY := $(TOOLS)/.ready
SOAK_RUNS ?= 40

.PHONY: help demo test lint types format docs bench compare soak lock tools owner clean
.DEFAULT_GOAL := help

help: ## Say what the targets are
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(READY) ## Rehearse one run on this machine: no Fly, no model, no account
	@$(BIN)/flaude-action rehearse --cache .cache

test: $(READY) ## Run the tests; what this machine cannot run is listed at the end
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY) ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## Check types
	@$(BIN)/mypy

format: $(READY) ## Rewrite the sources in the house format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

docs: $(READY) ## Write the tables of inputs, outputs and failures again
	@$(BIN)/python docs/tables.py

bench: $(READY) ## Measure the budgets; prints a table and judges nothing
	@$(BIN)/python -m bench

compare: $(READY) ## Run ten ends beside flaude 0.6.1 from PyPI and write docs/compared-with-flaude.md
	@$(BIN)/python -m bench.compare_flaude

soak: $(READY) ## Run SOAK_RUNS runs and look for leaked processes, machines and files
	@$(BIN)/python -m bench.soak --runs $(SOAK_RUNS)

# Hashes of every file of every version, for all supported Pythons and platforms; no index and no folder is named.
COMPILE = $(TOOLS)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(LOCK_ARGS)

lock: $(TOOLS_READY) ## Resolve the dependencies again (LOCK_ARGS=--upgrade for newer ones)
	$(COMPILE) pyproject.toml -o requirements/action.lock
	$(COMPILE) pyproject.toml --extra local --group dev -c requirements/action.lock -o requirements/dev.lock
	$(COMPILE) --group tools -o requirements/tools.lock

tools: $(TOOLS_READY) ## Install act, uv and zizmor

owner: ## Put the name of who publishes, NAME=…, in place of OWNER
	@test -n "$(NAME)" || { echo 'say who: make owner NAME=…' >&2; exit 2; }
	@git grep -liE '\bOWNER\b' -- . ':!Makefile' | xargs sed -i -E \
	  -e 's#\bOWNER/flaude-#$(NAME)/flaude-#g' -e 's#^(author: |OWNER = ")OWNER\b#\1$(NAME)#' \
	  -e "s#ghcr.io/owner/#ghcr.io/$$(echo '$(NAME)' | tr A-Z a-z)/#g"

clean: ## Remove what the targets made
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

# $(call make-venv,FOLDER): a virtual environment of the first fitting Python. PYTHON=… names one.
define make-venv
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  exec "$$python" -m venv --clear $(1); \
	done; echo "No Python 3.11 or newer with the venv module was found; name one: make PYTHON=/path/to/python3" >&2; exit 1
endef

PIP_INSTALL = -m pip --disable-pip-version-check -qq install --no-deps

$(READY): requirements/dev.lock pyproject.toml
	$(call make-venv,$(VENV))
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/dev.lock
	@$(BIN)/python $(PIP_INSTALL) --no-build-isolation --no-index -e .
	@touch $@

$(TOOLS_READY): requirements/tools.lock
	$(call make-venv,$(TOOLS))
	@$(TOOLS)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/tools.lock
	@touch $@
