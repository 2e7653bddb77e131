# Every target sets up what it needs: a machine with Python 3.11 or newer and make is enough.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env style lint tidy unit nbval book test faults reproduce bench lowest tools clean

PYTHON ?= python3
NAME ?=
BIN := .venv/bin
STAMP := .venv/.stamp
PYTEST := $(BIN)/python -m pytest -q
# As many tests at once as there are cores, with one thread each; neighbours in one process, which share fixtures.
PARALLEL := OMP_NUM_THREADS=1 $(PYTEST) -n logical --dist worksteal

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

env: $(STAMP)  ## make the environment in .venv, with the exact versions of requirements.txt

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

style: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint: style  ## code style; notebooks and their .py twins in step, without outputs
	$(PYTEST) tests/book/test_book.py -k "twin or outputs"

tidy: env  ## format the code; bring the twins of pages into step, without what editors add; draw the map
	$(BIN)/python tests/tidy.py
	$(BIN)/python book/map.py
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

unit: env  ## the tests of the package alone
	$(PARALLEL) -m "not book and not papermill and not browser and not faults"

# The cells of a page need one kernel, so one process (loadfile). The book runs the pages again: it needs their outputs,
# which nbval does not keep, from kernels without the settings of whoever builds it.
nbval: env  ## run every page as it stands, two at once, with all its claims
	OMP_NUM_THREADS=1 $(PYTEST) --nbval-lax --nbval-current-env -n 2 --dist loadfile notebooks

book: env  ## run every page and build the book
	$(BIN)/jupyter-book build -W --keep-going .
	@echo "The book is built. Open _build/html/index.html"

tools: env
	@$(BIN)/python tests/tools.py

test: env tools  ## everything: style, package, stored runs, pages, and the built book in a browser
	$(MAKE) style
	$(PARALLEL) -m "not browser and not faults"
	$(BIN)/python -m lintf verify --sample
	$(MAKE) nbval
	$(MAKE) book
	$(PARALLEL) -m browser
	@echo "All tests passed."

faults: book  ## bad parameters through papermill, stored files damaged, pages run twice (half an hour)
	$(PARALLEL) -m faults

reproduce: env  ## train the stored runs again from nothing and compare; NAME=... picks one
	$(BIN)/python -m lintf reproduce $(NAME)

bench: env  ## speed and memory, beside a plain implementation; names what falls short of its bar
	$(BIN)/python benchmarks/speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/models.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/controls.py
	$(BIN)/python benchmarks/pages.py

lowest:  ## run four pages with the lowest versions that pyproject.toml allows, in an environment of their own
	$(PYTHON) tests/lowest.py

clean:  ## remove what was built (the environment stays)
	rm -rf _build .pytest_cache .ruff_cache .hypothesis lintf.egg-info
	find lintf tests book -name __pycache__ -type d -prune -exec rm -rf {} +
