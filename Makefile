# Every target does its own set-up: a virtual environment in .venv with pinned dependencies, made once.
# Choose another interpreter with PYTHON=python3.12, another environment with VENV=path, uv with UV=1.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MINUTES ?= 3
# Processes that share the files of `make test`; each takes 2 GB or so. With WORKERS=0 pytest runs them itself.
WORKERS ?= 2
# Rooms whose shape annotations `make test` checks at every call, for half a minute more.
SHAPED := hornbook.models,hornbook.objectives,hornbook.generation,hornbook.evaluation,hornbook.interop

ifeq ($(UV),1)
MAKE_VENV := uv venv --allow-existing --python $(PYTHON) $(VENV)
INSTALL := uv pip install --python $(BIN)/python -c constraints.txt
else
MAKE_VENV := $(PYTHON) -m venv $(VENV)
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
endif

.PHONY: demo test check test-slow bench bench-peers docs format clean

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV), once; it takes a minute or three."
	$(MAKE_VENV)
	$(INSTALL) -e '.[test]'
	touch $@

demo: $(STAMP)  ## the whole life of a small model, offline, in minutes
	$(BIN)/hornbook demo --minutes $(MINUTES)

test: $(STAMP)  ## every test that needs no GPU, no network and no patience
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not gpu and not network" --jaxtyping-packages=$(SHAPED),beartype.beartype

check: $(STAMP)  ## format, lint, types, layers and the fast tests: under two minutes, before every commit
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -x -m "not slow and not gpu and not network and not medium"

test-slow: $(STAMP)  ## the rest: twenty kill points, minutes-long recipes
	$(BIN)/python -m pytest -m "slow and not gpu and not network"

bench: $(STAMP)  ## ratios against other libraries, side by side on this machine (first: make bench-peers)
	$(BIN)/hornbook bench tokenizer
	$(BIN)/hornbook bench train
	$(BIN)/hornbook bench decode
	$(BIN)/hornbook bench data
	$(BIN)/hornbook bench checkpoint

bench-peers: $(STAMP)  ## the libraries to compare with, each in an environment of its own in .bench
	$(BIN)/hornbook bench peers

docs: $(STAMP)  ## the documentation as HTML in docs/_build, warnings are errors
	$(INSTALL) -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build

format: $(STAMP)
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
