# `make` alone says what there is. Every target builds the environment it needs, once.

PYTHON ?= python3
UV ?=
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=
CHAOS_KILLS ?= 200
# Chosen after a look at seeds 0 to 4, so it has others: docs/start/index.md says more.
DEMO_METHODS ?= full,random-permutation,random-permutation@equal,emp
DEMO ?= compare digits --imbalance 10 --methods $(DEMO_METHODS) --keep 0.3 --seeds 5-14 --jobs 2 --out runs/demo
OLDEST_TESTS ?= tests/unit tests/property tests/test_cli.py
NEWEST_TESTS ?= tests/integration

VENV := .venv
CORE := .venv-core
OLDEST := .venv-oldest
NEWEST := .venv-newest
WHEELS := .venv-wheels
BENCHMARKS := $(wildcard benchmarks/engine.py benchmarks/training.py)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
# The tests start hundreds of processes. Without bytecode each of them compiles torch and the frameworks anew.
unexport PYTHONDONTWRITEBYTECODE
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo docs docs-serve test lint format types pytest matrix words oldest newest no-extras wheels bench chaos clean

stage = @printf '\n==> %s\n' "$(1)"
# The workers are processes that share the cores: one thread each. A page of docs is one story, and stays with one worker.
# In the order of collection the many short files of tests/unit come last, and the workers end together.
run_pytest = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder
# mkdocs finds tools/site.py; the theme's notice of another program's plans is left out.
in_repository = PYTHONPATH=. NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1
# $(call make_venv,FOLDER): an existing folder is completed, not wiped.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "emprune needs Python 3.11 or newer: got '$(PYTHON)' = $$($(PYTHON) --version 2>&1 || true)." \
			"Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(1) || { \
		echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu it needs the package python3-venv." >&2; exit 1; }
	@$(call pip_install,$(1)) $(PIP)
endef
# Python compiles what it imports, when it does: to compile all that is installed takes pip half of its time.
pip_install = $(if $(UV),$(UV) pip install --quiet --python $(1)/bin/python,$(1)/bin/python -m pip install --quiet \
	--no-compile --disable-pip-version-check)
# Reads [dependency-groups], which older ones do not.
PIP := 'pip>=25.1,<26'

help:
	@echo "emprune: what make can do (environments are made on first use, with PYTHON=$(PYTHON))"
	@echo
	@echo "  make demo       compare four methods where some classes are rare; a few minutes, results in runs/demo"
	@echo "  make docs       the documentation as a site in site/, notebooks and links checked; make docs-serve shows it while you write"
	@echo "  make test       everything CI checks: lint, format, types, then all tests and doctests"
	@echo "  make lint       ruff and its formatter, without changing anything"
	@echo "  make format     let ruff repair and format the code"
	@echo "  make types      mypy, strict"
	@echo "  make pytest     the tests alone; PYTEST_ARGS='-k plan -x' is passed on"
	@echo "  make words      how long the sentences of docs, docstrings and messages are, and which words to avoid"
	@echo "  make matrix     the long matrices of what resumes with what; before a release"
	@echo "  make no-extras  the library with torch and numpy alone"
	@echo "  make wheels     build both distributions in dist/, install them in an empty environment, and try them there"
	@echo "  make oldest     units and the command on the oldest supported versions (5.3 GB: torch 2.6 brings CUDA)"
	@echo "  make newest     the integrations' tests on the newest releases of the frameworks, fetched anew each time"
	@echo "  make bench      what the engine costs; BENCH_ARGS=--help says more"
	@echo "  make chaos      kill runs $(CHAOS_KILLS) times, and compare what they end with; minutes, CHAOS_KILLS=20 for a taste"
	@echo "  make clean      remove the environments and caches; runs/ and .data/ stay"
	@echo
	@echo "  make PYTHON=python3.12 ...   takes another Python, >= 3.11 (make clean first)"
	@echo "  make UV=uv ...               installs with uv, faster; it does not read pip.conf (UV_FIND_LINKS, UV_TORCH_BACKEND=cpu)"

$(VENV)/.created:
	$(call stage,$(VENV): a new environment)
	$(call make_venv,$(VENV))
	@touch $@

$(VENV)/.lab: pyproject.toml lab/pyproject.toml constraints.txt | $(VENV)/.created
	$(call stage,$(VENV): installing emprune and emprune-lab; about a minute)
	$(call pip_install,$(VENV)) -c constraints.txt -e . -e ./lab
	@touch $@

$(VENV)/.all: pyproject.toml lab/pyproject.toml constraints.txt | $(VENV)/.created
	$(call stage,$(VENV): installing emprune and emprune-lab with all they can use; about a minute)
	$(call pip_install,$(VENV)) -c constraints.txt -e '.[transformers,accelerate,lightning,streams,trackers,trl,sentence-transformers]' -e './lab[cluster,texts]' --group all
	@touch $(VENV)/.lab $@

$(CORE)/.core: pyproject.toml constraints.txt
	$(call stage,$(CORE): installing emprune without extras)
	@rm -rf $(CORE)
	$(call make_venv,$(CORE))
	$(call pip_install,$(CORE)) -c constraints.txt -e .
	@touch $@

$(OLDEST)/.oldest: pyproject.toml lab/pyproject.toml constraints-oldest.txt
	$(call stage,$(OLDEST): installing the oldest supported versions; about two minutes and 5.3 GB)
	$(call make_venv,$(OLDEST))
	$(call pip_install,$(OLDEST)) -c constraints-oldest.txt -e . -e ./lab --group test
	@touch $@

demo: $(VENV)/.lab
	$(call stage,emprune $(DEMO))
	@$(VENV)/bin/emprune $(DEMO)

# pytest comes last, so that its closing line closes the log.
test: lint types pytest

lint: $(VENV)/.all
	$(call stage,ruff check)
	@$(VENV)/bin/ruff check .
	$(call stage,ruff format --check)
	@$(VENV)/bin/ruff format --check .

format: $(VENV)/.all
	$(call stage,ruff: repair and format)
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

types: $(VENV)/.all
	$(call stage,mypy --strict)
	@$(VENV)/bin/mypy

pytest: $(VENV)/.all
	$(call stage,pytest)
	@$(call run_pytest,$(VENV)) $(PYTEST_ARGS)

docs: $(VENV)/.all
	$(call stage,the notebooks of docs/gallery)
	@$(in_repository) $(VENV)/bin/python -m tools.gallery
	$(call stage,site: the documentation)
	@$(in_repository) $(VENV)/bin/mkdocs build --strict

docs-serve: docs
	@$(in_repository) $(VENV)/bin/mkdocs serve

words: $(VENV)/.all
	$(call stage,the language of docs, docstrings, messages and help)
	@$(VENV)/bin/python -m tools.language

matrix: $(VENV)/.all
	$(call stage,pytest: the long matrices)
	@$(call run_pytest,$(VENV)) -m matrix tests $(PYTEST_ARGS)

# Old packages warn about things of their own time: there warnings are shown, not raised.
oldest: $(OLDEST)/.oldest
	$(call stage,pytest on the oldest supported versions)
	@$(call run_pytest,$(OLDEST)) -W default $(OLDEST_TESTS) $(PYTEST_ARGS)

# The frameworks, and all else, are the newest there are; torch alone stays as pinned, where it takes a build for the CPU.
newest:
	$(call stage,$(NEWEST): installing the newest releases; about a minute)
	@rm -rf $(NEWEST)
	$(call make_venv,$(NEWEST))
	@grep '^torch==' constraints.txt > $(NEWEST)/constraints.txt
	$(call pip_install,$(NEWEST)) -c $(NEWEST)/constraints.txt -e '.[transformers,accelerate,lightning,streams,trackers,trl,sentence-transformers]' -e ./lab --group test
	@$(NEWEST)/bin/python -m pip list --disable-pip-version-check | grep -iE '^(torch|transformers|accelerate|lightning|datasets|webdataset|trl|sentence-transformers|peft|tensorboard|wandb) '
	$(call stage,pytest on the newest releases)
	@$(call run_pytest,$(NEWEST)) $(NEWEST_TESTS) $(PYTEST_ARGS)

no-extras: $(CORE)/.core
	$(call stage,the library with torch and numpy alone)
	@$(CORE)/bin/python tests/test_no_extras.py

# One environment: the library alone first, then with the lab, which comes from dist/ as it will come from an index.
wheels:
	$(call stage,dist: wheels and sdists of emprune and emprune-lab)
	@rm -rf dist $(WHEELS)
	$(call make_venv,$(WHEELS))
	$(call pip_install,$(WHEELS)) -c constraints.txt build
	@for folder in . lab; do $(WHEELS)/bin/python -m build --outdir dist $$folder > $(WHEELS)/build.log 2>&1 || \
		{ cat $(WHEELS)/build.log >&2; exit 1; }; done
	@ls dist
	$(call stage,$(WHEELS): the wheel of emprune alone; about half a minute)
	$(call pip_install,$(WHEELS)) -c constraints.txt dist/emprune-*.whl
	@$(WHEELS)/bin/python tests/test_no_extras.py
	$(call stage,$(WHEELS): emprune[lab] from dist/)
	$(call pip_install,$(WHEELS)) -c constraints.txt --find-links dist "$$(echo dist/emprune-*.whl)[lab]"
	@$(WHEELS)/bin/python tests/wheels.py dist

bench: $(VENV)/.lab
	@test -n "$(BENCHMARKS)" || { echo "There is no benchmarks/*.py to run." >&2; exit 1; }
	@for file in $(BENCHMARKS); do printf '\n==> %s\n' "$$file"; $(VENV)/bin/python "$$file" $(BENCH_ARGS); done

chaos: $(VENV)/.lab
	$(call stage,$(CHAOS_KILLS) kills)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.lab.chaos --kills $(CHAOS_KILLS)

clean:
	rm -rf $(VENV) $(CORE) $(OLDEST) $(NEWEST) $(WHEELS) build dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src lab tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
