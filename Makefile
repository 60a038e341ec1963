# make run    from a fresh clone: install into .venv, then train A3C on CartPole-v1 on all cores
# make test   the same installation, and the tests, in two processes (a file's in one: each compiles its kernels once)
# make lint   the linters
# make docs   the pages, into the folder site
#
# PYTHON=python3.12 chooses the interpreter (3.11 or newer). TORCH_INDEX="--index-url https://download.pytorch.org/whl/cpu"
# gets torch without CUDA, which nothing here needs. RUN_OPTIONS and TEST_OPTIONS are handed on.

PYTHON ?= python3
TORCH_INDEX ?=
RUN_OPTIONS ?=
TEST_OPTIONS ?=
VENV := .venv
INSTALLED := $(VENV)/.installed

.PHONY: run test lint docs install clean

run: $(INSTALLED)
	$(VENV)/bin/asyncrl train a3c CartPole-v1 $(RUN_OPTIONS)

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile $(TEST_OPTIONS)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

docs: $(INSTALLED)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.12" >&2; exit 1; }
	@echo "installing into $(VENV): torch and some other packages, which takes minutes where they are not there yet"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet $(TORCH_INDEX) "$$(grep '^torch==' constraints.txt)"
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[mujoco,test,ray]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find asyncrl -name __pycache__ -prune -exec rm -rf {} +
