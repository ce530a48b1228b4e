# `make demo` and `make test` do all set-up themselves; a second call skips what is current.
#   ACCELERATOR=cpu|gpu   which lock to install (default: gpu where an NVIDIA driver answers)
#   PYTHON=python3.11     the interpreter for .venv

PYTHON ?= $(shell command -v python3.11 || command -v python3)
ACCELERATOR ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
VENV := .venv
BIN := $(VENV)/bin
LOCK := cluster/locks/$(ACCELERATOR).txt
STAMP := $(VENV)/.installed-$(ACCELERATOR)
# PyTorch's own index, asked only when the pinned CPU build is found nowhere that pip already looks.
TORCH_INDEX := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Many processes import the same large packages: compiling those each time, where this is set, takes longer than the rest.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-all lint lock clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(STAMP) ## the virtual environment .venv with the locked dependencies and this package

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

demo: setup ## the main job on the built-in world: report in runs/toy17/report/index.html
	$(BIN)/detox-ray run configs/toy17.yaml

test: setup lint ## linter, type checker, tests
	$(BIN)/python -m pytest -m "not slow"

test-all: setup lint ## and the slow tests: lost nodes, memory, object stores in training
	$(BIN)/python -m pytest

lint: setup ## linter, formatter, layers of the imports, type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

lock: ## make the lock files anew (see CONTRIBUTING.md)
	cluster/locks/make.sh

clean: ## remove the virtual environment and caches, not the runs
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
