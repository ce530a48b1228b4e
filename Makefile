# `make demo` and `make test` do all set-up themselves; a second call skips what is current.
#   ACCELERATOR=cpu|gpu   which lock to install (default: gpu if an NVIDIA driver answers)
#   PYTHON=python3.11     the interpreter for .venv
#   TEST_PROCESSES=2      how many processes share the tests; 0: one, in the order of the files

PYTHON ?= $(shell command -v python3.11 || command -v python3)
ACCELERATOR ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
TEST_PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
LOCK := cluster/locks/$(ACCELERATOR).txt
STAMP := $(VENV)/.installed-$(ACCELERATOR)
# PyTorch's own index, used only if pip finds the pinned CPU build nowhere else.
TORCH_INDEX := https://download.pytorch.org/whl/cpu
# Tests that share Ray, a run or a service stay together; tests/conftest.py says which, and the order.
PYTEST_PROCESSES := -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Many processes import the same large packages. With this variable set, each would compile them again.
unexport PYTHONDONTWRITEBYTECODE

DOCS := .venv-docs
DOCS_STAMP := $(DOCS)/.installed

.PHONY: help setup demo test test-all lint docs lock pictures clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(STAMP) ## install the locked dependencies and this package into .venv

$(STAMP): $(LOCK) cluster/locks/build.txt cluster/locks/torch-$(ACCELERATOR).txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "Python 3.11 is needed, not " + sys.version)'
	@rm -f $(VENV)/.installed-*
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q --no-deps -r cluster/locks/build.txt
	$(PIP) install -q --no-deps -r cluster/locks/torch-$(ACCELERATOR).txt || \
		PIP_EXTRA_INDEX_URL=$(TORCH_INDEX) $(PIP) install -q --no-deps -r cluster/locks/torch-$(ACCELERATOR).txt
	DS_BUILD_OPS=0 $(PIP) install -q --no-deps --no-build-isolation --no-compile --require-hashes -r $(LOCK)
	$(PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## run the default experiment on the built-in world: report in runs/toy17/report/index.html
	$(BIN)/detox-ray run configs/toy17.yaml

test: setup lint ## run linter, type checker and tests
	$(BIN)/python -m pytest $(PYTEST_PROCESSES) -m "not slow"

test-all: setup lint ## run also the slow tests: lost nodes, memory, object stores in training
	$(BIN)/python -m pytest $(PYTEST_PROCESSES)

lint: setup ## run linter, formatter, import layers, type checker and the check of the pages' links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest -q --noconftest tests/test_docs_links.py

$(DOCS_STAMP): cluster/locks/docs.txt
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip --disable-pip-version-check install -q --no-deps --require-hashes -r $<
	@touch $@

docs: $(DOCS_STAMP) ## build the documentation site into site/index.html (its tools in .venv-docs; needs no set-up)
	$(DOCS)/bin/zensical build --clean --strict

RUN ?= runs/toy17
pictures: setup ## make docs/report.png and docs/serving.png from a finished run (RUN=runs/toy17)
	$(BIN)/python scripts/pictures.py $(RUN)

lock: ## regenerate the lock files (see CONTRIBUTING.md)
	cluster/locks/make.sh

clean: ## remove the virtual environment and caches, but not the runs
	rm -rf $(VENV) $(DOCS) site .pytest_cache .ruff_cache .mypy_cache *.egg-info
