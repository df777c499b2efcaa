# Everything starts from here; `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
PORT ?= 9100
# Where torch comes from: the CPU build by default. For NVIDIA GPUs: https://download.pytorch.org/whl/cu130
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu

VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := llm-vision/constraints.txt
INSTALLED := $(VENV)/.installed
TORCH := $(shell sed -n '/^torch==/p' $(CONSTRAINTS))

.PHONY: help install run demo test lint check bench docs clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make .venv with everything pinned (CPU torch; TORCH_INDEX_URL=... for another)

# torch alone is taken from its own index (or from pip's find-links), so that PyPI's CUDA build is never pulled.
$(INSTALLED): llm-vision/pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --retries 1 --no-deps --index-url $(TORCH_INDEX_URL) $(TORCH)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable "llm-vision[dev]"
	@touch $@

run: install ## Serve on port 9100 (PORT=... for another)
	$(BIN)/llm-vision serve --port $(PORT)

demo: install ## Start the service, read a manga page, a bubble and a photo, check the answers, stop
	$(BIN)/python demo/run.py

test: install ## Run all tests
	$(BIN)/python -m pytest

lint: install ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: lint ## Check style and types
	$(BIN)/mypy

bench: install ## Measure against named peers (make bench NAME=start for one)
	$(BIN)/python -m benchmarks $(NAME)

docs: install ## Write docs/openapi.json and the table of errors anew
	$(BIN)/python docs/write_docs.py

clean: ## Remove what make made
	rm -rf $(VENV) build .pytest_cache .ruff_cache .mypy_cache
