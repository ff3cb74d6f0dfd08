# Everything here runs in .venv, which is made from the one constraints file and remade when that or the packaging changes.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml setup.py constraints.txt $(wildcard src/deeplab/crf/native_src/*)
# Compiled afterwards, on all cores: pip would do it on one, for a minute and more.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# Tests run two at a time on two cores, three where slow ones often wait for processes they started: a thread each, for torch's
# threads wait for each other actively and would take twice as long. A file stays in one process (--dist loadfile), for its tests
# share what they composed, trained or started; files come in the order of tests/conftest.py.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
BY_FILE := --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-all test-others test-slurm soak lint format sanitize setup clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv and install everything, pinned

$(STAMP): $(SOURCES)
	@test -n "$(PYTHON)" || { echo "DeepLab needs Python 3.11 or 3.12 on the PATH, or PYTHON=/path/to/python." >&2; exit 1; }
	@echo "Installing into $(VENV): 2 GB and more, minutes in which little is printed."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[dev]'
	$(PIP) pydensecrf2==1.1 \
		|| echo "pydensecrf2 does not build here (it needs a C++ compiler and Python 3.11 or 3.12): crf.backend=pydensecrf is not available."
	$(BIN)/python -m compileall -q -j 0 -x 'py312_intrinsics|/tests/' $(VENV)/lib \
		|| echo "The files named above are no Python of this version; they are left uncompiled, and nothing else changes."
	@touch $(STAMP)

demo: $(STAMP) ## train, evaluate with the CRF, draw pictures: generated scenes, CPU, no download
	$(BIN)/deeplab train experiment=demo

test: $(STAMP) ## the fast tests
	$(PYTEST) -n 2 $(BY_FILE) -m "not slow and not slurm and not browser and not soak"

# Slurm's tests wait most of their minutes: they run beside the others.
test-all: $(STAMP) ## all tests but the soak
	$(MAKE) --jobs=2 test-others test-slurm

test-others: $(STAMP)
	$(PYTEST) -n 3 $(BY_FILE) -m "not slurm and not soak"

test-slurm: $(STAMP)
	$(PYTEST) -m slurm

# One rank beside two; what each kill did stands at the end.
soak: $(STAMP) ## runs killed at random moments (KILLS=60), about 20 minutes
	KILLS=$(or $(KILLS),60) $(PYTEST) -n 2 --dist load -m soak -rP

lint: $(STAMP) ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
	PYTHONPATH=src $(BIN)/lint-imports

sanitize: $(STAMP) ## the CRF's C++ under AddressSanitizer and UndefinedBehaviorSanitizer
	tests/crf/sanitize.sh $(BIN)/python

format: $(STAMP) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and what was built
	rm -rf $(VENV) build dist src/*.egg-info src/deeplab/crf/_native*.so .mypy_cache .ruff_cache .import_linter_cache
