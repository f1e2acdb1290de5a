# `make demo` and `make test` set up everything that they need on a machine
# with Python 3.11 (headers, venv), git, make, g++ and a package registry.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/lock.txt
# Named after the lock, so that a changed lock installs again and an unchanged
# one does not.
STAMP := $(VENV)/installed-$(firstword $(shell sha256sum $(LOCK)))

export OMP_NUM_THREADS ?= 1
export SAM2_BUILD_CUDA ?= 0
export MMCV_WITH_OPS := 1

# Processes that run the tests: one a core; each takes 1.5 GB of memory.
TEST_JOBS ?= $(shell nproc)

LOCK_INPUTS := $(foreach f,build mminstall runtime optional tests,requirements/$(f).txt)

.PHONY: help setup test test-fast demo lint format lock

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): $(LOCK)
	command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 with headers and venv, or name another one: make PYTHON=python3 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q uv
	@echo "Installing PyTorch and the build requirements (about 5 GB) ..."
	$(BIN)/uv pip install -q --python $(BIN)/python -r requirements/build.txt -c $(LOCK)
	@# Compiled once here: importing MMDet takes a third of the time then, also
	@# where PYTHONDONTWRITEBYTECODE is set.
	@echo "Installing the locked versions; mmcv is compiled, which takes 6 to 16 minutes on 2 cores ..."
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r $(LOCK) --no-build-isolation-package onedl-mmcv --no-build-isolation-package sam2
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	rm -f $(VENV)/installed-*
	touch $@

setup: $(STAMP) ## Create .venv with the locked versions (once)

test: $(STAMP) ## Run the test-suite
	$(BIN)/python -m pytest tests -q -n $(TEST_JOBS) --dist worksteal

test-fast: $(STAMP) ## Run the tests that need no training
	$(BIN)/python -m pytest tests -q -n $(TEST_JOBS) --dist worksteal -m 'not slow' --durations 5

lint: $(STAMP) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Resolve requirements/*.txt into requirements/lock.txt again
	$(BIN)/uv pip compile -q --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28 --custom-compile-command 'make lock' $(LOCK_INPUTS) -o $(LOCK)
	@sed -i '1i # Platform: Linux x86_64 (glibc 2.28 or newer). Python: 3.11.' $(LOCK)

demo: $(STAMP) ## Train on 6 labelled images and write a page; DATA=shapes compares four models, FAST=1 proves the path
	$(BIN)/python tools/demo.py $(if $(DATA),--data $(DATA)) $(if $(FAST),--fast)
