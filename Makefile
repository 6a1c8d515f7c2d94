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

# Efface alone, with what developers need, and with what builds the documentation.
setup: $(VENV)/.dev
$(VENV)/.efface: EXTRAS :=
$(VENV)/.dev: EXTRAS := [dev]
$(VENV)/.docs: EXTRAS := [dev,docs]
$(VENV)/.dev $(VENV)/.docs: $(VENV)/.efface

$(VENV)/.efface $(VENV)/.dev $(VENV)/.docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@echo "installing efface$(EXTRAS) into $(VENV); the first time it downloads torch and diffusers"
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.$(EXTRAS)' \
	  || $(BIN)/python -m pip install -c constraints.txt -e '.$(EXTRAS)'
	touch $@

demo: $(VENV)/.efface
	$(BIN)/efface demo --overwrite

test: setup
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2

slow: setup
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow

# Every block of docs/start and docs/guides, and examples/.
guides: setup
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m guides -n 2

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python docs/check_words.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python benchmarks/step_cost.py --out benchmarks/results/step-cost.json
	$(BIN)/python benchmarks/forget_class.py zoo:digits recipes/digits-sfd.toml --pair 2:7 --pair 6:5 \
	  --pair 9:3 --seed 10 --seed 11 --seed 12 --out benchmarks/results/digits-sfd.json

clean:
	rm -rf $(VENV) efface-demo runs site
