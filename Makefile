# Every target sets up what it needs. Python, make and a C compiler are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY := PASSIVE
# Bytecode is kept: every process of the tests would compile all sources again.
export PYTHONDONTWRITEBYTECODE :=
export TOKENIZERS_PARALLELISM := false
# uv reads its own variable for local package files; empty elsewhere, which is fine.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

.PHONY: setup demo test slow guides docs check format bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]' \
	  || $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/efface demo --overwrite

test: setup
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2

slow: setup
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow

# Every block of docs/start and docs/guides, and examples/.
guides: setup
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m guides -n 2

docs: setup $(VENV)/.docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs-ready: pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev,docs]' \
	  || $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,docs]'
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python benchmarks/step_cost.py --out benchmarks/results/step-cost.json
	$(BIN)/python benchmarks/forget_class.py zoo:digits recipes/digits-sfd.toml --pair 2:7 --pair 6:5 \
	  --pair 9:3 --seed 10 --seed 11 --seed 12 --out benchmarks/results/digits-sfd.json

clean:
	rm -rf $(VENV) efface-demo runs site
