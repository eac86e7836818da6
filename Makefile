# Everything one needs: Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: setup study gallery docs test slow check fix lock benchmark

setup: $(READY) ## makes .venv from the lock

# Bytecode at once: where Python may write none (PYTHONDONTWRITEBYTECODE), each process would compile TensorFlow anew, for ten seconds.
$(READY): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock | $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r /dev/stdin
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock || \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock # whose registry only pip is told of
	touch $@

study: $(READY) ## trains the four classifiers of docs/getting-started.md
	$(BIN)/python -m src.run -m study=masking_by_cell masking=true,false cell=lstm,gru

gallery: $(READY) ## the tables and figures of the documents, from the studies that were run
	for study in $$(ls experiments/results); do $(BIN)/python -m analysis table $$study --out experiments/results/$$study > /dev/null || exit 1; done
	for asked in "padding_by_length --toggle bucketing" "padding_by_length --toggle bucketing --metric test/accuracy" \
	    "onehot --toggle encoding" "learning_rate_by_cell --toggle learning_rate" "initialisers --toggle learning_rate" "masking_by_side_and_length --toggle masking" \
	    "masking_by_side_and_length --toggle masking --metric test/accuracy" "masking_by_side_and_length --toggle padding_side --metric test/accuracy" \
	    "forget_bias --toggle forget_bias" "readouts --toggle readout" "learned_state --toggle initial_state" \
	    "smaller_network --metric test/accuracy" "loops --metric test/accuracy" "variable_lengths --metric test/accuracy"; do $(BIN)/python -m analysis table $$asked --out experiments/results/$${asked%% *} > /dev/null || exit 1; done
	$(BIN)/python -m analysis figure masking_by_cell_unbucketed curves --out experiments/results/masking_by_cell_unbucketed
	$(BIN)/python -m analysis figure leave_one_out forest --out experiments/results/leave_one_out
	$(BIN)/python -m docs.generated

docs: $(READY) ## what the documents show of the program, and the site in site/
	$(BIN)/python -m docs.generated
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

test: $(READY) ## runs all tests
	$(BIN)/python -m pytest

slow: $(READY) ## runs the tests that take several processes: chaos, a tracking server, PostgreSQL, Ray
	$(BIN)/python -m pytest -m slow --dist load

check: $(READY) ## style, types, and which room imports which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY) ## what can be mended by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(READY) ## resolves the dependencies anew, for all platforms, without any registry's address
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --group pyproject.toml:dev --extra ray --extra slurm pyproject.toml -o requirements.lock

benchmark: $(READY) ## speed and memory, as ratios
	$(BIN)/python -m benchmarks
