# Market Data Backend Platform. `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help install run test test-long check format docs dashboards pictures requirements bench clean reset

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(STAMP) ## Create .venv and install everything (the other targets do it by themselves)

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "cannot create $(VENV); on Debian: apt-get install python3-venv"; exit 1; }
	@echo "installing into $(VENV) (about a minute)"
	@$(BIN)/python -m pip install -qq -r requirements.txt -r requirements-dev.txt
	@$(BIN)/python -m pip install -qq --no-deps --editable .
	@touch $@

run: install ## Serve the API with the bundled sample on http://127.0.0.1:8000
	@$(BIN)/market-data serve --sample

test: install ## Run the whole test suite; prints what it could not run
	@$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered
	@$(BIN)/python tests/support/critical_coverage.py

test-long: install ## Run what is too slow for every change as well
	@$(BIN)/python -m pytest -n 2 --dist loadfile --run-slow

check: install ## Lint, types, layers, documentation
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python -m grafana --check

format: install ## Put the code into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: install ## Write what is generated: .env.example, and in docs/ the references
	@$(BIN)/python docs/generate.py

dashboards: install ## Write the dashboards and alert rules of Grafana
	@$(BIN)/python -m grafana

pictures: install ## Draw what dashboards show of the sample, for docs/images
	@$(BIN)/python -m pip install -qq --constraint requirements-dev.txt --editable '.[pictures]'
	@$(BIN)/python -m docs.pictures

requirements: install ## Pin requirements anew from pyproject.toml
	@$(BIN)/python -m piptools compile --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--extra sample --output-file requirements.txt pyproject.toml
	@$(BIN)/python -m piptools compile --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--extra sample --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

bench: install ## Measure against what PostgreSQL itself can do (minutes)
	@$(BIN)/python -m benchmarks

clean: ## Remove caches and the virtual environment; never data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* dist build
	@find . -name __pycache__ -type d -not -path './.data/*' -prune -exec rm -rf {} +

reset: ## Remove the embedded database; asks first
	@printf 'This deletes all data under .data for good. Type yes: '; read answer; \
		test "$$answer" = yes && rm -rf .data && echo "deleted" || echo "kept"
