# Two commands for a newcomer: `make demo` and `make test`. Both set everything up first.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check dev bench images push lock clean
MAKEFLAGS += --no-print-directory

# Without bytecode every start of ours doubles; with OpenMP's default threads a busy machine trains many times slower.
unexport PYTHONDONTWRITEBYTECODE
export OMP_NUM_THREADS ?= 1
BIN := .venv/bin
ARGS ?=

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## virtual environment in .venv from the hash-pinned lock; instant the second time
	@scripts/setup

demo: setup ## the whole loop, headless, on this machine: CI, training, delivery, drift, retraining
	@$(BIN)/mlauto demo $(ARGS)

test: check ## linters, strict types, import contracts, all tests
	@$(BIN)/pytest -n 2 -m "not live" $(ARGS)
	@$(BIN)/pytest -m live $(ARGS)

check: setup ## linters, strict types and import contracts only
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

dev: setup ## Dagster UI on 127.0.0.1:3000 with the sensors running
	@$(BIN)/mlauto dev $(ARGS)

bench: setup ## seconds from a failing check to a better model live, against a plain script
	@$(BIN)/python benchmarks/loop.py $(ARGS)

images: ## container images mlauto/serving, mlauto/serving-sklearn, mlauto/orchestrator (BASE=..., DOCKER_BUILD_ARGS=...)
	@BASE="$(BASE)" DOCKER_BUILD_ARGS="$(DOCKER_BUILD_ARGS)" scripts/images build

push: ## the images of this commit to REGISTRY=..., and their digests
	@REGISTRY="$(REGISTRY)" scripts/images push

lock: ## resolve requirements*.lock again from pyproject.toml (needs uv)
	@scripts/lock

clean: ## remove .venv and caches; the state directory .mlauto stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@find mlauto mlauto_tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Removed .venv and caches. State is left in .mlauto: delete it to forget every product's history."
