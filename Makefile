# make demo   set up, enhance the sample photos, say where to look
# make test   set up, run all tests
# make test-all   the same, with what is left to chance tried thousands of times: hours
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --constraint infra/constraints.txt
INSTALLED := .venv/.installed
FOR_TESTS := .venv/.installed-for-tests

.PHONY: demo test test-all check clean

demo: $(INSTALLED)
	$(BIN)/nightlift images infra/samples/photos demo

# two files of tests at once, those with the slowest tests first
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: $(FOR_TESTS)
	$(PYTEST)

test-all: $(FOR_TESTS)
	NIGHTLIFT_TESTS=full $(PYTEST)

check: $(FOR_TESTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.support.docstrings

$(INSTALLED): pyproject.toml infra/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nightlift needs Python 3.11 or newer; try: make demo PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	# torch first and by itself, so that its exact version is settled before anything asks for a looser one
	$(PIP) torch
	$(PIP) --editable '.[heif,cluster,evaluate]'
	touch $@

$(FOR_TESTS): $(INSTALLED)
	$(PIP) --editable '.[dev,heif]'
	touch $@

clean:
	rm -rf .venv build demo *.egg-info
