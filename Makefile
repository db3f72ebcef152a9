# make fit    trains and evaluates the embedded example; make test runs lint, types and tests;
# make test-slow runs further cases of what the tests hold.
# Needs Python 3.11 or newer; choose one with make PYTHON=python3.12 ...

PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.13; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin

.PHONY: install fit test test-slow clean

install: .venv/.installed

fit: install
	$(BIN)/python -m zsl.fit --config shapes.yaml

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: .venv/.installed-dev
	$(BIN)/pytest -n 2 -m slow

clean:
	rm -rf .venv build dist *.egg-info

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found; name one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv

# The stamps are written last, so an interrupted installation is taken up again.
.venv/.installed: setup.cfg pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --disable-pip-version-check -e '.[demo]'
	@touch $@

.venv/.installed-dev: setup.cfg pyproject.toml | .venv/.installed
	$(BIN)/pip install --disable-pip-version-check -e '.[demo,dev]'
	@touch $@
