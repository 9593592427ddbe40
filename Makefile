# make demo   make the mini data, train Mask R-CNN with BCN, draw the results
# make test   run the test suite, in two processes with one thread each
# make lint   check the code with ruff, and the texts
# make bench  time every norm beside torch's, the authors' and others'
# make gpu    run on one NVIDIA GPU the tests of the kernels, the benchmarks
#             and the studies, in parts that resume
# make study STUDY=gradient-detection
#             train what a study of studies/plans lacks, and write the tables
# make test-torch TORCH=2.1.2
#             test layers and synchronization with another torch, without mmcv
#
# Each target first creates its environment: .venv, if it is missing or if
# requirements.txt has changed, or .venv-torch-2.1.2.
# PYTHON chooses the interpreter for both: make demo PYTHON=python3.12

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
TORCH_VENV := .venv-torch-$(TORCH)
# A free worker takes tests from the longer queue of the other worker.
PYTEST := python -m pytest -n 2 --dist worksteal
export PYTHON

.PHONY: demo test lint bench gpu study test-torch env
.DEFAULT_GOAL := test

env:
	@tools/dev/create_env.sh $(VENV)

demo: env
	@$(BIN)/python -m tools.dev.demo

test: env
	$(BIN)/$(PYTEST)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	tools/dev/check_prose.sh

bench: env
	$(BIN)/python -m benchmarks.norms

gpu: env
	$(BIN)/python -m benchmarks.gpu

study: env
	$(BIN)/python -m studies.run "$(STUDY)"
	$(BIN)/python -m studies.report

test-torch:
	@tools/dev/create_torch_env.sh "$(TORCH)" $(TORCH_VENV)
	$(TORCH_VENV)/bin/$(PYTEST) tests/test_torch_names.py tests/layers \
		tests/distributed tests/functional
