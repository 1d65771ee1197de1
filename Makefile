# Everything sets itself up: Python 3.11+ and make are all that is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PAPERS := du-toit-2024-decision-trees feed-forward-pruning khanal-2018-karnin frankle-bau-2019-mnist adamczewski-park-2019-ranking

.PHONY: quick site papers test test-slow check bench gpu models-table format criteria clean help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

quick: $(READY) ## Run the quick suite and write its leaderboard page
	$(BIN)/benchsuite run suites/quick.toml

site: $(READY) ## Write the published board, made from leaderboard/results, to build/site
	$(BIN)/benchsuite leaderboard leaderboard/results/*.jsonl.gz --output build/site

papers: $(READY) ## Run the suites of five papers, and write one site with a page of the published values of each
	@for suite in $(PAPERS); do $(BIN)/benchsuite run suites/papers/$$suite.toml || exit; done
	$(BIN)/benchsuite leaderboard $(PAPERS:%=runs/%) --output build/papers

test: $(READY) ## Run the tests but those marked slow
	$(BIN)/python -m pytest -n auto --dist worksteal --ignore tests/benchmarks -m "not slow" $(TESTS)

test-slow: $(READY) ## Run the tests marked slow: inputs by the thousand, kills, full disks, whole commands
	$(BIN)/python -m pytest -n auto --dist worksteal --ignore tests/benchmarks -m slow $(TESTS)

check: $(READY) ## Lint, format check, types, which room imports which, and the published results
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@for file in leaderboard/results/*.jsonl.gz; do $(BIN)/benchsuite verify "$$file" || exit; done

bench: $(READY) ## Measure speed, as ratios against honest alternatives
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/benchmarks --benchmark-only -p no:xdist

gpu: ## Test and measure on a GPU, within nine minutes; OPTIONS=--dry tries it without one
	$(or $(wildcard $(BIN)/python),$(PYTHON)) tests/gpu/run.py $(OPTIONS)

models-table: $(READY) ## Survey the models of torchvision, timm and transformers, and write docs/models.md
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_models.py build/models.jsonl docs/models.md

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

criteria: $(READY) ## Write docs/criteria from the docstrings, and measure for its table
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_criteria.py --measure

clean: ## Remove the environment and the caches; results in runs/ stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "benchsuite needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@
