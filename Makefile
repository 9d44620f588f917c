# make demo   the main job on the built-in tiny model and data, on the CPU, in minutes
# make test   the tests, two files at a time
# make drill  searches that are killed and resumed, about 50 minutes
# make mutants  269 small faults put into a copy of the code, one at a time: do the tests notice? Half an hour
# make docs   the documentation as a site in site/
# make check  what CI also asks: lint, format, types, import rules
# make clean  takes away .venv, the demo's results and the site
#
# Each makes .venv first, once, with the versions of requirements.lock. Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test drill mutants docs check clean

demo: $(READY)
	rm -rf demo
	$(BIN)/python -m tune_sa2va.search --gpus 0 --lanes 2 --space smoke --trials 8 --epochs 3 --folds 1 --confirm 0 --out . --name demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

drill: $(READY)
	$(BIN)/python -m pytest tests/drills -m "slow or not slow"

mutants: $(READY)
	$(BIN)/python -m tests.mutants

docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/python -m mkdocs build

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv demo site

# torch comes first and from its own requirement, so that an index with a CPU build can give that one; the lock then
# finds it in place. The project itself goes in last, as a link to this folder.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "make: $(PYTHON) must be Python 3.11, 3.12 or 3.13, got: $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)
