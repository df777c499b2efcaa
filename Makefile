# `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
PORT ?= 9100
COUNT ?= 50000
MINUTES ?= 30
JOBS ?= 2
# The index for torch: the CPU build by default. For NVIDIA GPUs: https://download.pytorch.org/whl/cu130
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu

VENV := .venv
BIN := $(VENV)/bin
LOCK := llm-vision/requirements.lock
DEV_LOCK := llm-vision/requirements-dev.lock
RUNTIME := $(VENV)/.runtime
INSTALLED := $(VENV)/.installed
CLIENTS := .venv-compat
COMPAT := tests/compat
BROWSER := .venv-browser
TORCH := $(shell sed -n 's/^ *"\(torch==.*\)",/\1/p' llm-vision/pyproject.toml)
UV := uv==0.13.8
COMPILE := build/lock/bin/uv pip compile --quiet --project llm-vision --universal --python-version 3.11 \
	--generate-hashes --no-emit-package torch --custom-compile-command "make lock"
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
PINNED := $(BIN)/pip install --no-deps --no-build-isolation --require-hashes

.PHONY: help install runtime lock run demo quick test test-all test-loaded compat browser-test docker-test faults fuzz soak lint check bench bench-models train-fixtures docs answer clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Create .venv with pinned packages, development tools included (TORCH_INDEX_URL=... for a GPU)

# setuptools comes first, so that packages without a wheel are built with the locked one, not one pip fetches unhashed.
# torch has no hash, because each index has its own builds. It comes from its own index (or from pip's find-links), so
# that PyPI's CUDA build is never installed. A CUDA build finds NVIDIA's libraries there; the CPU build needs only the lock.
$(RUNTIME): llm-vision/pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.platform == "win32" and "LLM Vision runs on Linux and macOS: on Windows, use WSL or Docker")'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required: make PYTHON=python3.11 ...")'
	@echo "Installing LLM Vision into $(VENV), once: about 0.8 GB to download, 2 GB of disk, a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(PINNED) --quiet --requirement <(sed -n '/^setuptools==/,/[^\]$$/p' $(LOCK))
	@echo "Step 1 of 3: the packages that it uses"
	$(PINNED) --requirement $(LOCK)
	@echo "Step 2 of 3: PyTorch, the largest of them"
	$(BIN)/pip install --retries 1 --index-url $(TORCH_INDEX_URL) $(TORCH)
	@echo "Step 3 of 3: LLM Vision itself"
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable llm-vision
	$(BIN)/pip check
	@touch $@

$(INSTALLED): $(RUNTIME) $(DEV_LOCK)
	@echo "Installing the development tools"
	$(PINNED) --quiet --requirement $(DEV_LOCK)
	$(BIN)/pip check
	@touch $@

lock: ## Update the lock files from pyproject.toml (NAME=pillow to upgrade that package)
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet $(UV)
	$(COMPILE) --extra dev $(NAME:%=--upgrade-package %) --output-file $(DEV_LOCK) llm-vision/pyproject.toml
	$(COMPILE) --constraint $(DEV_LOCK) --output-file $(LOCK) llm-vision/pyproject.toml

runtime: $(RUNTIME) ## Create .venv with what the service needs (TORCH_INDEX_URL=... for a GPU)

run: $(RUNTIME) ## Run the service on port 9100 (PORT=... for another)
	$(BIN)/llm-vision serve --port $(PORT)

demo: $(RUNTIME) ## Start the service, send a manga page, a bubble and a photo, check the answers, stop
	$(BIN)/python demo/run.py

quick: install ## Run the tests that need neither a server nor a model; half a minute
	$(PYTEST) tests/unit tests/architecture

test: install ## Run all tests, two files at a time (JOBS=1 for one); 8 minutes on two cores
	$(PYTEST)

test-all: install ## Run all tests, with the full number of repetitions
	TESTS=all $(PYTEST)

test-loaded: install ## Run all tests beside five busy processes per core
	@trap 'kill $$(jobs -p)' EXIT; for _ in $$(seq $$((5 * $$(nproc)))); do while :; do :; done & done; $(PYTEST)

compat: install $(CLIENTS)/.installed ## Run third-party clients against the service (NAME=ollama for one; needs npm); 3 minutes
	$(CLIENTS)/bin/python -m pytest $(COMPAT) $(NAME:%=-k %)

# The clients have their own environment, so that they and the service do not constrain each other's versions.
$(CLIENTS)/.installed: $(COMPAT)/requirements.txt $(COMPAT)/package-lock.json
	@command -v npm > /dev/null || { echo "two of the clients need npm: install Node.js 20 or newer" >&2; exit 1; }
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet --no-deps --require-hashes --requirement $(COMPAT)/requirements.txt
	$(CLIENTS)/bin/pip check
	npm ci --prefix $(COMPAT) --no-audit --no-fund --ignore-scripts
	@touch $@

browser-test: install $(BROWSER)/.installed ## Execute every operation of /docs in Chromium, which must be installed
	$(BROWSER)/bin/python -m pytest tests/browser

$(BROWSER)/.installed: tests/browser/requirements.txt
	$(PYTHON) -m venv $(BROWSER)
	$(BROWSER)/bin/pip install --quiet --no-deps --require-hashes --requirement tests/browser/requirements.txt
	@touch $@

docker-test: install ## Build the image and test docker-compose.yml on a Docker engine (started if none is running; needs root)
	$(BIN)/python -m pytest tests/containers

faults: install ## Measure every promise that has a figure (NAME=overload for one part); about 15 minutes
	cd tests && ../$(BIN)/python -m faults.figures $(NAME)

fuzz: install ## Send 50,000 mutated bodies to a live server (COUNT=...); mutated answers of another server, and models
	cd tests && ../$(BIN)/python -m faults.fuzz --count $(COUNT)
	cd tests && ../$(BIN)/python -m faults.fuzz_answers
	cd tests && ../$(BIN)/python -m faults.fuzz_model_files

soak: install ## Run 30 minutes of mixed traffic with misbehaving clients (MINUTES=...; LEAK=--leak for a leaking build)
	cd tests && ../$(BIN)/python -m faults.soak --minutes $(MINUTES) $(LEAK)

lint: install ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: lint ## Check style and types
	$(BIN)/mypy

bench: install ## Run the benchmarks against their peers (NAME=start for one)
	$(BIN)/python -m benchmarks $(NAME)

bench-models: install ## Run the benchmarks of full-size models, with random weights
	$(BIN)/python -m benchmarks manga_ocr pages_manga_ocr first_clients llava_int4 chat

train-fixtures: install ## Retrain the tiny models for the tests (half an hour each on two cores)
	cd tests && ../$(BIN)/python -m fixtures.training.manga_ocr ../build/training/manga-ocr
	cd tests && ../$(BIN)/python -m fixtures.training.llava ../build/training/llava
	cd tests && ../$(BIN)/python -m fixtures.training.llava_next ../build/training/llava ../build/training/llava-next
	cd tests && ../$(BIN)/python -m fixtures.training.blip ../build/training/blip

docs: install ## Regenerate docs/openapi.json and the table of errors
	$(BIN)/python docs/write_docs.py

answer: install ## Draw the README's picture again, with what the service answers now
	$(BIN)/python docs/images/draw_answer.py

clean: ## Remove everything make created
	rm -rf $(VENV) $(CLIENTS) $(BROWSER) $(COMPAT)/node_modules build .pytest_cache .ruff_cache .mypy_cache
