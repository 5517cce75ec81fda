# Every target makes its own virtual environment first; nothing else is needed but Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint format pose-env test-pose clean

demo: $(VENV)/.ready
	$(BIN)/kinema demo --out runs/demo

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.ready-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(VENV)/.ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# video to poses: MediaPipe wants older packages, so it has an environment of its own
pose-env: $(VENV)-pose/.ready

test-pose: pose-env
	$(VENV)-pose/bin/python -m pytest tests/data/test_extract.py

# torch first and exactly: a looser request would bring several GB of CUDA packages to a CPU machine
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kinema needs Python 3.11 or newer; say: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)-pose/.ready: pyproject.toml constraints-pose.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and "MediaPipe 0.10.21 needs Python 3.11 or 3.12; say: make PYTHON=python3.12 ...")'
	test -x $(VENV)-pose/bin/python || $(PYTHON) -m venv $(VENV)-pose
	$(VENV)-pose/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VENV)-pose/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-pose.txt -e '.[pose]' pytest pytest-timeout hypothesis
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-pose build dist .pytest_cache .ruff_cache .hypothesis
