# Each target makes the environment that it needs, in .venv, when there is none or when setup.py is newer.
#   make train TASK=topdown ARGS="--model=hrnet"     make test ARGS="-m slow"     PYTHON=python3.12 make train

PYTHON ?= python3
TASK ?= poseconv3d
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --disable-pip-version-check
# Empty files that say what an environment holds; one that was cut short has none.
CORE := $(VENV)/.core
TEST := $(VENV)/.test

.PHONY: train test lint docs notebooks pictures bench clean

train: $(CORE)
	$(RUN) -m train.$(TASK) $(ARGS)

test: $(TEST)
	$(RUN) -m pytest $(ARGS)

lint: $(TEST)
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check

# Runs the notebooks for their outputs, once; `ARGS="-D nb_execution_mode=off"` leaves the outputs out.
docs: $(TEST)
	$(RUN) -m sphinx --fail-on-warning --keep-going --quiet --builder html $(ARGS) docs build/docs

# `KERAPOSE_FAST=1 make notebooks` trains a step or two in each, to see that every cell runs.
notebooks: $(TEST)
	$(RUN) -m pytest -n0 --nbmake --nbmake-timeout=600 notebooks/*.ipynb $(ARGS)

# All pictures of the pages and of README.md; data sets of puppets and four trainings first, an hour on two cores.
# `.venv/bin/python docs/draw.py` draws those alone for which everything is there.
pictures: $(CORE)
	@set -e; for data in puppets puppets/tracks puppets/groups puppets/group_videos puppets/videos; do \
		$(RUN) datasets/build.py $$data; done
	@set -e; for task in poseconv3d topdown openpose lifter; do $(RUN) -m train.$$task; done
	$(RUN) docs/draw.py

bench: $(CORE)
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(RUN) $$file; done

$(CORE): setup.py pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) --editable .
	touch $@

$(TEST): $(CORE)
	$(INSTALL) --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
