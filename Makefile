# Needs Debian's python3.11 with venv, Java 17 and make; everything else is set up in the tree.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9

.PHONY: help demo test test-fast lint types fmt lock wheel bench setup clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(READY)  ## run the whole loop on MovieLens-100K; opens nothing, writes .rehearsal/
	@$(BIN)/rehearsal demo

test: $(READY)  ## set up what is needed and run the tests, in two processes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(READY)  ## the tests that need no Spark
	@$(BIN)/python -m pytest tests/unit -m "not spark"

lint: $(READY)  ## ruff: rules and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	@$(BIN)/mypy

fmt: $(READY)  ## format and fix
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

wheel: $(READY)  ## build dist/rehearsal-*.whl
	@$(BIN)/python -m build --wheel --no-isolation

bench: $(READY)  ## benchmarks, each as a ratio against a peer or limit
	@for file in tests/benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

lock: $(READY)  ## resolve setup.py's ranges anew into requirements.lock
	@$(BIN)/uv pip compile setup.py --extra dev --python-version 3.11 --universal \
	  --generate-hashes --no-header --upgrade -q -o requirements.lock

setup: $(READY)  ## make the virtual environment and fetch Delta's jars

$(READY): requirements.lock setup.py
	@PYTHON=$(PYTHON) bash .ci/preflight
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) from requirements.lock (5 GB, once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION) 2>/dev/null \
	  || { echo "error: PyPI cannot be reached; check the network or pip's index settings, then run make again"; exit 1; }
	@$(BIN)/uv pip sync -q --require-hashes requirements.lock \
	  || { echo "error: a package could not be fetched; check the network, then run make again"; exit 1; }
	@$(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	@$(BIN)/python -m rehearsal.session
	@touch $(READY)

clean:  ## remove the virtual environment and everything the demo made
	rm -rf $(VENV) .rehearsal build dist *.egg-info
