# make demo   make the mini data, train Mask R-CNN with BCN, show the result
# make test   the test suite
# make lint   ruff
# make bench  time every norm beside torch's, the authors' and others'
#
# Each first creates .venv, if it is missing or requirements.txt changed.
# PYTHON chooses the interpreter for it: make demo PYTHON=python3.12

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
export PYTHON

.PHONY: demo test lint bench env
.DEFAULT_GOAL := test

env:
	@tools/dev/create_env.sh $(VENV)

demo: env
	@$(BIN)/python -m tools.dev.demo

test: env
	$(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: env
	$(BIN)/python -m benchmarks.norms
