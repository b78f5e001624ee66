# Every target is one call of `factory …`; the work is in src/factory_lib, the settings in config/factory.toml.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
FACTORY := $(VENV)/bin/factory
PY := $(VENV)/bin/python
DATA ?= ../shared/data
CONTAINER ?= podman
# The scripts of an environment name its folder. Where that was moved or copied they would run the former one's, or nothing.
MOVED := $(shell test ! -e $(FACTORY) -o -L $(VENV) || head -n 2 $(FACTORY) | grep -qF '$(abspath $(VENV))/' || echo yes)
# What a caller may set: SOURCE=… for ingest, SINCE=… for backfill, DAY=… and DAYS=… for plan, AS_OF=… for any job, ARGS="…" for the rest.
JOB_ARGS = $(if $(AS_OF),--as-of $(AS_OF)) $(ARGS)

.PHONY: help setup lab demo history run ingest gaps backfill features train predict plan health maintenance \
	cron-show cron-install cron-remove image serve mlflow docs check test bench clean lock
.PHONY: $(if $(MOVED),$(VENV)/.ready)

help:  ## Show this help
	@awk 'BEGIN {FS = ":.*## "; print "factory_lib: make TARGET. Begin with demo, then serve or lab.\n"} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

# What Run All leaves in a notebook is no change to git: .gitattributes names the filter, setup defines it. Without
# the environment (make clean) notebooks pass as they are. rfc3987_syntax, which no notebook needs, takes 1.5 s to import.
STRIP = import sys; sys.modules.update(rfc3987_syntax=None); from nbstripout import main; main()
FILTER = if test -x $(PY); then $(PY) -c "$(STRIP)" --keep-id --extra-keys metadata.language_info; else cat; fi

# The environment is rebuilt when the lock is newer; the stamp is written last, so that a broken install is repeated.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=python3.12")'
	@echo "Building $(VENV) from requirements.lock: about two minutes, of which nothing is shown."
	@test -x $(PY) -a -z "$(MOVED)" || $(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(MAKE) --no-print-directory notebook-filter
	@touch $@

notebook-filter:
	@test "$$(git rev-parse --show-toplevel 2>/dev/null)" != "$$(pwd -P)" || git config filter.notebook.clean '$(FILTER)'

setup: $(VENV)/.ready  ## Build .venv from the lock (other targets do it by themselves)

lab: $(VENV)/.ready  ## Open JupyterLab on the notebooks; ARGS="--no-browser --port 8889"
	JUPYTER_CONFIG_PATH=$(CURDIR)/tools/jupyter:$$JUPYTER_CONFIG_PATH \
		$(VENV)/bin/jupyter lab --ServerApp.root_dir=. $$(test $$(id -u) -ne 0 || echo --allow-root) $(ARGS)

demo: $(VENV)/.ready  ## The whole job on simulated data: offline, no key, a few minutes
	$(FACTORY) demo $(ARGS)

history: $(VENV)/.ready  ## Import the real files of DATA=… and run the notebooks as of 2017 and 2024
	$(FACTORY) history $(DATA) $(ARGS)

# A tick must not wait for make to compare time stamps of the environment: it only checks that it exists.
run:  ## Run JOB=… (what cron calls); does nothing when nothing new can exist
	@test -x $(FACTORY) -a -z "$(MOVED)" || $(MAKE) --no-print-directory setup
	@$(FACTORY) run $(JOB) $(JOB_ARGS)

ingest: $(VENV)/.ready  ## Fetch new prices and weather; SOURCE=… from one provider
	$(FACTORY) run ingest $(if $(SOURCE),--param sources=$(SOURCE)) $(JOB_ARGS)

gaps: $(VENV)/.ready  ## Show the coverage of every series
	$(FACTORY) run gap_analysis $(JOB_ARGS)

backfill: $(VENV)/.ready  ## Fill what is missing; SINCE=2022-01-01 for a first load
	$(FACTORY) run auto_backfill_check --force $(if $(SINCE),--param since=$(SINCE)) $(JOB_ARGS)

features: $(VENV)/.ready  ## Build and describe the feature set
	$(FACTORY) run feature_engineering $(JOB_ARGS)

train: $(VENV)/.ready  ## Train, evaluate and register the models
	$(FACTORY) run ml_training $(JOB_ARGS)

predict: $(VENV)/.ready  ## Predict price, weather, score and recommendation of the hours ahead
	$(FACTORY) run ml_predictions --force $(JOB_ARGS)

plan: $(VENV)/.ready  ## Plan the next seven days; tomorrow's shift sheet, DAY=today DAYS=7 for others
	$(FACTORY) run production_optimization --force $(if $(DAY),--param day=$(DAY)) $(if $(DAYS),--param days=$(DAYS)) $(JOB_ARGS)

health: $(VENV)/.ready  ## Check jobs, providers, series, keys and disk
	$(FACTORY) run health_check --force $(JOB_ARGS)

maintenance: $(VENV)/.ready  ## Back up, remove old runs, compact and check
	$(FACTORY) run weekly_cleanup $(JOB_ARGS)

cron-show: $(VENV)/.ready  ## Show the crontab block of the jobs
	@$(FACTORY) cron show

cron-install: $(VENV)/.ready  ## Schedule the jobs in the user's crontab, leaving the rest of it alone
	$(FACTORY) cron install

cron-remove: $(VENV)/.ready  ## Take the jobs out of the crontab
	$(FACTORY) cron remove

image:  ## Build the container image localhost/factory; CONTAINER=docker, ARGS="--build-arg BASE=…"
	BUILDAH_FORMAT=docker $(CONTAINER) build --file deploy/Containerfile --tag localhost/factory $(ARGS) .

serve: $(VENV)/.ready  ## Serve the live page on 127.0.0.1:8080; PORT=…, ARGS="--profile demo"
	$(FACTORY) serve $(if $(PORT),--port $(PORT)) $(ARGS)

mlflow: $(VENV)/.ready  ## Serve the MLflow pages on 127.0.0.1:5000; PORT=…, ARGS="--profile demo"
	$(FACTORY) mlflow $(if $(PORT),--port $(PORT)) $(ARGS)

docs: $(VENV)/.ready  ## Make the API pages from the docstrings: docs/api/index.html
	$(PY) -m pdoc --docformat numpy --output-directory docs/api factory_lib factory_sim

check: $(VENV)/.ready  ## Ruff, mypy and the rules of the notebooks
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) tools/check_notebooks.py

test: $(VENV)/.ready  ## Every test, in random order, on all cores
	$(PY) -m pytest -n auto --dist loadscope $(ARGS)

bench: $(VENV)/.ready  ## Run one benchmark: NAME=store_io ARGS="--quick"
	$(PY) -m benchmarks.$(NAME) $(ARGS)

lock:  ## Resolve the dependencies again (needs uv)
	uv pip compile pyproject.toml --extra alerts --extra dask --extra dev --extra docs --extra postgres --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --output-file requirements.lock

clean:  ## Remove the environment and the demo's data and runs; live and imported data stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis data/demo runs/demo
