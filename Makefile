# Sluice. `make demo` and `make test` set up what is missing; a second run starts within seconds.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
# Which torch is installed. PyPI's build for Linux on x86 brings CUDA along. For the CPU build, name the index of
# PyTorch's CPU builds, which its install page gives, as with the images: make demo PIP_EXTRA_INDEX_URL=...
# Or name a file: make demo TORCH=./torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl
TORCH ?= torch==2.13.0
ifdef PIP_EXTRA_INDEX_URL
export PIP_EXTRA_INDEX_URL
endif
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUN := .venv/.run
DEV := .venv/.dev
BUF := node_modules/.bin/buf
SIDE_BY_SIDE := tests/unit tests/contract

BASELINE ?= HEAD^

.PHONY: help demo test fuzz up check lint-protos protos train manual bench-overhead bench-refusals bench-regression bench-cpu bench-gpu bench-kernels bench-mixed bench-overload clean

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

demo: $(RUN) ## start a mesh, send it the example requests, report, stop it
	@$(BIN)/sluice demo

# What needs no quiet machine runs side by side, one file's tests in one process, so that what they share is made once.
# The others run meshes and see what those bear. They have the machine to themselves, whatever the first run found.
test: $(DEV) check lint-protos ## lint, types, contracts, and all tests
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) --numprocesses auto --dist loadfile; first=$$?; \
	  [ $$first -le 1 ] || exit $$first; \
	  $(BIN)/python -m pytest $(SIDE_BY_SIDE:%=--ignore=%) || exit $$?; \
	  [ $$first -eq 0 ] || { echo "test: there are failures in the first run, further up"; exit $$first; }

fuzz: $(DEV) ## attack a mesh with 100,000 random messages of every public kind
	@$(BIN)/python -m tests.fuzz

up: $(RUN) ## keep a mesh running until Ctrl-C
	@$(BIN)/sluice up

check: $(DEV) ## lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

# protos/baseline.binpb is the contract that clients may rely on, as an image: a shallow clone has no branch to compare
# with. Only `make protos` moves it, after nothing broke. What has to break goes into a new package, such as sluice.v2.
lint-protos: ## lint the contracts and compare them with the promised ones, where npm is there
	@if command -v npm >/dev/null; then \
	  [ node_modules/.package-lock.json -nt package-lock.json ] || \
	    { echo "downloading buf with npm, once"; \
	    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null; } || exit 1; \
	  $(BUF) lint && $(BUF) format --diff --exit-code && $(BUF) breaking --against protos/baseline.binpb; \
	else echo "lint-protos: skipped, there is no npm"; fi

protos: $(DEV) lint-protos ## generate the Python code of the contracts
	@$(BIN)/python tools/generate_protos.py
	@[ ! -x $(BUF) ] || $(BUF) build --exclude-source-info --output protos/baseline.binpb

manual: $(DEV) ## write the settings' tables in docs/operations.md anew
	@$(BIN)/python tools/write_manual.py

train: $(DEV) ## make the demo's data and train its five models anew
	@$(BIN)/python tools/train_demo_models.py

bench-overhead: $(DEV) ## what the mesh adds to a bare call; writes benchmarks/results/overhead.json
	@$(BIN)/python -m benchmarks.overhead

bench-refusals: $(DEV) ## how soon bad input is told so; writes benchmarks/results/refusals.json
	@$(BIN)/python -m benchmarks.refusals

bench-regression: $(DEV) ## this checkout against an earlier one: make bench-regression BASELINE=<revision>
	@$(BIN)/python -m benchmarks.regression --baseline $(BASELINE)

bench-restart: $(DEV) lint-protos ## what callers lose when routers restart; writes benchmarks/results/rolling_restart.json
	@$(BIN)/python -m benchmarks.rolling_restart

bench-attacks: $(DEV) ## what misuse of HTTP/2 does to a good caller; writes benchmarks/results/attacks.json
	@$(BIN)/python -m benchmarks.attacks

bench-memory: $(DEV) ## what very large calls leave of the router's memory, eleven minutes; writes benchmarks/results/memory.json
	@$(BIN)/python -m benchmarks.memory

bench-cpu: $(DEV) ## the CPU tiers against their targets, ten minutes; writes benchmarks/results/cpu.json
	@$(BIN)/python -m benchmarks.cpu

# On a machine with an accelerator, whose torch has to be in the environment already: ours is for the CPU.
bench-gpu: ## the full tier on an accelerator against its targets; writes benchmarks/results/gpu.json
	@$(PYTHON) -m benchmarks.gpu

bench-kernels: ## kernels for DeepSeek's shape against what the device could do; writes benchmarks/results/kernels.json
	@$(PYTHON) -m benchmarks.kernels

bench-mixed: ## a ResNet-152 learns, in fp32 and mixed; writes benchmarks/results/mixed_precision.json
	@$(PYTHON) -m benchmarks.mixed_precision

bench-overload: $(DEV) ## does it degrade instead of failing? seven experiments; writes benchmarks/results/overload/
	@$(BIN)/python -m benchmarks.overload

clean: ## forget environment and caches
	rm -rf .venv .cache .sluice node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Sluice needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "making .venv"
	@$(PYTHON) -m venv .venv

$(RUN): pyproject.toml constraints.txt | .venv/bin/python
	@echo "downloading $(TORCH) and what it needs, once: about 200 MB for a CPU build; a CUDA build, which is what PyPI"
	@echo "has for Linux on x86, is several GB (to choose, see TORCH in the Makefile); then a few hundred MB of other packages"
	@$(PIP) '$(TORCH)'
	@$(PIP) --editable '.[worker]'
	@touch $@

$(DEV): $(RUN)
	@echo "downloading what the tests need, once: a few hundred MB of Python packages"
	@$(PIP) --editable '.[worker,dev]'
	@touch $@
