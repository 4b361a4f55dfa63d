# make demo   set up, enhance the sample photos, say where to look
# make test   set up, run all tests
# make test-all   the same, with what is left to chance tried thousands of times: hours
PYTHON ?= python3
BIN := .venv/bin
# on a terminal pip shows what it does; a log has our own lines alone
PIP := $(BIN)/pip install $(shell test -t 2 || echo --quiet) --constraint infra/constraints.txt
INSTALLED := .venv/.installed
FOR_TESTS := .venv/.installed-for-tests

.PHONY: demo test test-all check clean

demo: $(INSTALLED)
	@echo "enhancing the sample photos"
	$(BIN)/nightlift images infra/samples/photos demo
	@echo
	@echo "Look at infra/samples/photos (before) and demo (after), or at both in demo/_nightlift/report.html."
	@echo "Your own photos: $(BIN)/nightlift images PHOTOS BRIGHT. All commands: $(BIN)/nightlift --help"

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
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "nightlift needs Python 3.11 to 3.14; try: make demo PYTHON=python3.11")'
	@echo "Setting up takes 2 to 10 minutes, and 2 GB on the disk; 7 GB where torch comes with CUDA."
	@echo "1 of 3: making an environment for Python packages in .venv"
	$(PYTHON) -m venv .venv
	@echo "2 of 3: installing torch"
	# torch first and by itself, so that its exact version is settled before anything asks for a looser one
	$(PIP) torch
	@echo "3 of 3: installing Ray, the codecs and the rest"
	$(PIP) --editable '.[heif,cluster,evaluate]'
	touch $@

$(FOR_TESTS): $(INSTALLED)
	@echo "installing what the tests need"
	$(PIP) --editable '.[dev,heif,raw,jxl]'
	touch $@

clean:
	rm -rf .venv build demo *.egg-info
