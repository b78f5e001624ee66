# Every target is one call of `factory …`; the work is in src/factory_lib, the settings in config/factory.toml.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
FACTORY := $(VENV)/bin/factory
PY := $(VENV)/bin/python
DATA ?= ../shared/data
PORT ?= 8080
# What a caller may set: SOURCE=… for ingest, SINCE=… for backfill, AS_OF=… for any job, ARGS="…" for the rest.
JOB_ARGS = $(if $(AS_OF),--as-of $(AS_OF)) $(ARGS)

.PHONY: help setup lab demo history run ingest gaps backfill features train predict plan report health maintenance \
	cron-show cron-install cron-remove serve mlflow check test bench clean lock

help:  ## Show this help
	@awk 'BEGIN {FS = ":.*## "; print "factory_lib: make TARGET\n"} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

# The environment is rebuilt when the lock is newer; the stamp is written last, so that a broken install is repeated.
$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=python3.12")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

setup: $(VENV)/.ready  ## Build .venv from the lock (other targets do it by themselves)
