# Two commands do everything: `make demo` and `make test`. Both set up .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint docs setup system-packages clean

demo: $(VENV)/.engine
	$(BIN)/spark3r demo --out out/demo

# Tests run several processes on the same cores: threads that wait by spinning would take them from each other.
test test-all: export OMP_WAIT_POLICY := passive
test: export OMP_NUM_THREADS := 1

# A file of tests stays in one process: its fixtures are made once.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not gpu" -o timeout=1200
	$(BIN)/python tools/mutate_guards.py

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# The documentation as a site, in out/site; a warning is an error.
docs: $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt mkdocs-material
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

setup: $(VENV)/.dev

# What tests/system_packages.py says is missing: those tests are skipped without it.
system-packages:
	tools/install_system_packages.sh

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install -q --upgrade pip

# constraints.txt pins torch: without a pin the registry's newest build brings several GB of CUDA packages.
$(VENV)/.engine: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[engine]'
	touch $@

$(VENV)/.dev: $(VENV)/.engine
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info
