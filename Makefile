# `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests demo demo-seeds test test-fast lint bench lock clean

PYTHON ?= python3
TORCH_INDEX ?=
ARGS ?=
VENV := .venv

SETUP := $(PYTHON) scripts/setup.py $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))
IN_VENV := source $(VENV)/bin/rlco-env.sh &&
LINTED := datasets calibration evaluation trainer policy_server ros_ws/src scripts tests benchmarks
TYPED := datasets/rlco_datasets calibration/rlco_calibration evaluation/rlco_evaluation \
	trainer/rlco_trainer policy_server/rlco_policy_server ros_ws/src/rlco/rlco scripts/setup.py scripts/demo.py scripts/demo_table.py

# Quiet, offline and local.
export MPLBACKEND := Agg
export HF_HUB_OFFLINE := 1
export PYTHONUNBUFFERED := 1
export RAY_USAGE_STATS_ENABLED := 0
export RAY_DEDUP_LOGS := 1
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO := 0
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST

# Tests start many processes; a hung one fails with a stack trace instead of using up CI's time.
test test-fast: export OMP_NUM_THREADS ?= 1
PYTEST := python -m pytest --timeout 1200

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo '  variables: ARGS="..." for demo and test, PYTHON=python3.12 and TORCH_INDEX=URL for setup'
	@echo '             (URL: an index with the PyTorch build to take, such as its CPU builds)'

setup: ## install everything into .venv; a second run takes a second
	@$(SETUP)

setup-tests: # as setup, and what only tests need: a browser, device libraries, simulated robots
	@$(SETUP) --tests

demo: setup ## the whole mission on a simulated lab, ending in a report (ARGS="--help" for options)
	@$(IN_VENV) python scripts/demo.py $(ARGS)

demo-seeds: setup ## the demo with three seeds, as in the README's table
	@$(IN_VENV) python scripts/demo.py --seeds 0 1 2 $(ARGS)
	@$(IN_VENV) python scripts/demo_table.py

test: setup-tests ## all tests (ARGS="-k name" to choose)
	@$(IN_VENV) $(PYTEST) $(ARGS)

test-fast: setup ## the tests that take seconds
	@$(IN_VENV) $(PYTEST) -m "not slow" $(ARGS)

lint: setup ## ruff, its formatter, mypy
	@$(IN_VENV) ruff check $(LINTED)
	@$(IN_VENV) ruff format --check $(LINTED)
	@$(IN_VENV) mypy $(TYPED)

bench: setup ## all benchmarks; tables here, rows in runs/bench/*.json
	@mkdir -p runs/bench
	@$(IN_VENV) for script in benchmarks/[a-z]*.py; do \
		name=$$(basename "$$script" .py); echo "== $$name"; \
		python "$$script" --json "runs/bench/$$name.json"; done

lock: ## write constraints.txt from what .venv holds now
	@$(VENV)/bin/python scripts/setup_lock.py

clean: ## remove .venv, caches and build outputs; runs/ stays
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf ros_ws/build ros_ws/install ros_ws/log
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
	find . -name '*.egg-info' -not -path './.git/*' -prune -exec rm -rf {} +
