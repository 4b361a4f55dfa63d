# make demo   set up, enhance the sample photos, say where to look
# make test   set up, run all tests
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test check clean

demo: $(INSTALLED)
	$(BIN)/nightlift images infra/samples/photos demo

test: $(INSTALLED)
	$(BIN)/pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml infra/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nightlift needs Python 3.11 or newer; try: make demo PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	# torch first and by itself, so that its exact version is settled before anything asks for a looser one
	$(BIN)/pip install --quiet --constraint infra/constraints.txt torch
	$(BIN)/pip install --quiet --constraint infra/constraints.txt --editable '.[dev,heif]'
	touch $@

clean:
	rm -rf .venv build demo *.egg-info
