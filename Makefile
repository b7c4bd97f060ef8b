# These targets also install their environment, with tested versions, in .venv.
#   make demo   train MS-ResNet on handwritten digits, which takes about a minute
#   make test   run the tests; make test-fast runs those of single parts
#   make docs   build the documentation in docs/_build/html
# PYTHON=python3.12 selects another Python (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints/$(shell $(PYTHON) -c 'import sys; print("py311" if sys.version_info < (3, 12) else "py312")').txt

.PHONY: demo test test-fast lint format docs linkcheck audit release-check clean

demo: $(VENV)/.plots
	rm -rf runs/demo
	$(BIN)/python -m snnjax.main --config=configs/digits.py --workdir=runs/demo

# Two processes: most of the time is compilation, and one process uses little more than one core.
PYTEST := $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal
# Tests that compute little are run separately, compiled with less optimization.
COMPILING := $(addprefix tests/,analysis conversion export faults models neurons tools weights \
  test_doors.py test_launch.py test_main.py test_processes.py)

test: $(VENV)/.dev
	$(PYTEST) --compile-quickly $(COMPILING)
	$(PYTEST) $(addprefix --ignore=,$(COMPILING))

# Layers, neurons, data and configurations: no training, and few other processes.
FAST := $(addprefix tests/,data \
  $(addprefix models/test_,activations.py blocks.py convolution.py layers.py params.py) \
  $(addprefix neurons/test_,amplitude.py few_spikes.py isolate.py membrane.py surrogates.py) \
  $(addprefix train/test_,config.py config_file.py losses.py metrics.py) \
  $(addprefix test_,cli.py errors.py imports.py modules.py spelling.py))

test-fast: $(VENV)/.dev
	$(PYTEST) --compile-quickly $(FAST)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/shellcheck launch/*.sh launch/slurm.sbatch

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Builds the documentation in docs/_build/html.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

# Checks the links to other sites.
linkcheck: $(VENV)/.docs
	$(BIN)/sphinx-build -b linkcheck -q docs docs/_build/linkcheck

# Versions that are missing in the database count as failures: an audit of nothing must not pass.
audit: $(VENV)/.audit
	@status=0; for file in constraints/*.txt; do \
	  $(BIN)/pip-audit --strict --no-deps --disable-pip --requirement $$file || status=1; \
	done; exit $$status

# Checks a release: versions and dates agree, and the wheel trains and evaluates in an environment
# of its own, outside this folder.
release-check: lint docs
	$(BIN)/python -m pytest tests/test_package.py tests/test_release.py
	rm -rf dist && $(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	$(PYTHON) -m venv dist/venv
	dist/venv/bin/pip install --quiet --constraint $(CONSTRAINTS) dist/*.whl
	cd dist && venv/bin/snnjax train --config=snnjax:digits --config.epochs=1 --workdir=run
	cd dist && venv/bin/snnjax evaluate --weights=run
	cd dist && venv/bin/snnjax inspect pretrained:ms_resnet20_cifar10

clean:
	rm -rf $(VENV) dist docs/_build runs/demo .mypy_cache .pytest_cache .ruff_cache

# The file .venv/.dev marks an environment in which the extra dev is installed; likewise for others.
$(VENV)/.%: setup.cfg $(CONSTRAINTS) | $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[$*]'
	touch $@

$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'snnjax needs Python 3.11 or newer; select one with PYTHON=python3.11'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

