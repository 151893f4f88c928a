# Two commands for a newcomer: `make book` and `make test`. `make help` lists the rest.
PYTHON ?= python3
PROFILE ?= report
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# Nothing is compiled when it is installed, but when it is first imported, and this would have each process do it again.
unexport PYTHONDONTWRITEBYTECODE

# Of the tests, up to four: one more than there are cores, since some wait for processes, browsers and locks.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN); echo $$((cores < 3 ? cores + 1 : 4)))

# The files of the project are in UTF-8, whatever the locale says.
export PYTHONUTF8 := 1

.PHONY: help setup data book pdf lab test faults lint graph retrain bench serve clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(READY)  ## virtual environment, locked requirements, aelib

$(READY): requirements.txt pyproject.toml tools/environment.py
	@$(PYTHON) tools/environment.py

data: $(READY)  ## find or fetch FashionMNIST, and verify it
	@$(BIN)/aelib data

book: $(READY)  ## execute the chapters and render the book (PROFILE=report, quick or smoke)
	@$(BIN)/aelib book --profile $(PROFILE)

pdf: $(READY)  ## the book, and all of it as one PDF and one EPUB (Chromium prints the PDF)
	@$(BIN)/aelib book --profile $(PROFILE) --pdf

lab: $(READY)  ## the chapters in JupyterLab, which is installed the first time, beside what the lock pins
	@sed '/ --hash=/d; s/ *\\$$//' requirements.txt > $(VENV)/constraints.txt
	@test -x $(BIN)/jupyter-lab || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint $(VENV)/constraints.txt 'jupyterlab>=4'
	@$(BIN)/python -c 'import sys; sys.path.insert(0, "tools"); import environment; environment.make_movable()'
	@$(BIN)/jupyter-lab --notebook-dir=. book/01_convolutional.ipynb

test: $(READY)  ## the tests (ONLY= chooses among them, as pytest's -m)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(if $(ONLY),-m "$(ONLY)")

faults: $(READY)  ## a dozen times each: what is killed, full, damaged or wrong; writes the table of the book
	AELIB_NO_SKIP=1 AELIB_FAULTS=12 $(BIN)/python -m pytest -m faults

lint: $(READY)  ## style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

graph: $(READY)  ## draw the import graph into CONTRIBUTING.md
	@$(BIN)/python tools/graph.py

retrain: $(READY)  ## train every experiment from scratch (PROFILE=report, quick or smoke)
	@$(BIN)/aelib train --again --profile $(PROFILE)

bench: $(READY)  ## measure, side by side
	$(BIN)/python benchmarks/run.py

serve: $(READY)  ## show the built book on http://localhost:8000
	$(BIN)/python -m http.server --bind localhost --directory _build/html 8000

clean:  ## remove what was built; runs, data and the environment stay
	rm -rf _build
