# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Three processes on two cores: with threads of their own each they would mostly wait for one another.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
STAMP := $(VENV)/.installed

.PHONY: demo test dozen proof check contract crash composed bench format golden secrets lock clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 14) else "Python 3.11 to 3.14 is needed; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# One install per change of pyproject.toml.
$(STAMP): $(BIN)/python pyproject.toml
	@echo "Installing into $(VENV) (torch, ray and mlflow: a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' $(PIP_FLAGS)
	@$(BIN)/python -P -m workers.tracking.prepare >/dev/null  # MLflow's migrations, once per version
	@touch $(STAMP)

# Installs, runs the quickstart study in a home of its own, ends with the verdict and where to look.
demo: $(STAMP)
	@$(BIN)/warmup-bench run quickstart --home demo/home --out demo/quickstart

test: $(STAMP)
	@$(PYTEST) -m "not proof" -n 3 --dist loadfile --no-loadscope-reorder

# Thirteen cells of the crash matrix, one after another in one study (three minutes).
dozen: $(STAMP)
	@$(PYTEST) -q tests/e2e/test_crash_matrix.py

# What takes minutes a test: services, drivers, nodes and Rays that are killed while studies run, and statistics of many
# draws. Before a release, and after a change of what these are about (half an hour).
proof: $(STAMP)
	@$(PYTEST) -m proof -n 2 --dist loadfile --no-loadscope-reorder

# Format, lint, types, import contracts, and the quick tests of what a study is: within a minute on two cores.
QUICK := $(addprefix tests/,architecture schemas properties golden schedules planning records results)
check: $(STAMP)
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo
	@$(PYTEST) -q -m "not slow and not proof" -n 2 --dist loadfile --no-loadscope-reorder $(QUICK)

format: $(STAMP)
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

# At least 2,000 generated requests on SQLite and as many on Postgres, in whatever order (a quarter of an hour).
contract: $(STAMP)
	@WARMUP_BENCH_CONTRACT_EXAMPLES=50 $(BIN)/python -m pytest -q -s tests/contract

# The crash matrix: every cell by itself, then a hundred faults in a row (an hour).
crash: $(STAMP)
	@$(BIN)/python -P tests/e2e/crash_matrix.py

# The service of docker-compose.yml with real processes, each killed in turn while studies run (a quarter of an hour).
composed: $(STAMP)
	@WARMUP_BENCH_COMPOSED=whole $(BIN)/python -m pytest -q tests/e2e/test_composed_service.py

bench: $(STAMP)
	@$(BIN)/python -P tests/benchmarks/run.py

# Rebuilds the golden curves and the golden trial ids; a change of theirs is explained in the changelog and raises SCIENCE_REVISION.
golden: $(STAMP)
	@PYTHONPATH=. $(BIN)/python tests/science/test_training_golden.py
	@WARMUP_BENCH_REBUILD_GOLDEN=1 $(BIN)/python -m pytest -q tests/golden

# The secrets of a team's service (docker-compose.yml, k8s/), as files in secrets/; what is there already stays.
secrets:
	@$(PYTHON) tools/make_secrets.py

# Writes requirements-cpu.lock and requirements-cuda.lock, what the image installs. On Linux with the image's Python.
lock: $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25'
	@$(BIN)/python tools/lock.py

clean:
	rm -rf $(VENV) demo
