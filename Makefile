# Requirements: Python 3.11 or newer, and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: setup study gallery docs test slow check fix lock benchmark

setup: $(READY) ## makes .venv from the lock

# Compiles bytecode now: with PYTHONDONTWRITEBYTECODE, each process would otherwise compile TensorFlow for ten seconds.
$(READY): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required; try: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock | $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r /dev/stdin
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock || \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock # if only pip knows the registry
	touch $@

study: $(READY) ## trains the four classifiers of docs/getting-started.md
	$(BIN)/python -m src.run -m study=masking_by_cell masking=true,false cell=lstm,gru

gallery: $(READY) ## the tables and figures of the documents, from the finished studies
	for study in $$(ls experiments/results); do $(BIN)/python -m analysis table $$study --out experiments/results/$$study > /dev/null || exit 1; done
	for table in "padding_by_length --toggle bucketing" "padding_by_length --toggle bucketing --metric test/accuracy" \
	    "onehot --toggle encoding" "learning_rate_by_cell --toggle learning_rate" "initialisers --toggle learning_rate" "masking_by_side_and_length --toggle masking" \
	    "masking_by_side_and_length --toggle masking --metric test/accuracy" "masking_by_side_and_length --toggle padding_side --metric test/accuracy" \
	    "execution_by_size --toggle execution" "forget_bias --toggle forget_bias" "readouts --toggle readout" "learned_state --toggle initial_state" \
	    "smaller_network --metric test/accuracy" "loops --metric test/accuracy" "variable_lengths --metric test/accuracy" \
	    "attention_scores --metric test/exact_match_long" "attention_scores --metric test/alignment_error"; do $(BIN)/python -m analysis table $$table --out experiments/results/$${table%% *} > /dev/null || exit 1; done
	for table in "encoder_of_pretexts --within encoder" "encoder_of_pretexts --toggle encoder" "code_size --within pretext" \
	    "pretext_length --within pretext" "accuracy_by_labels --within labels,pretext" "pretexts_and_tuning --within pretext" \
	    "holes --toggle hole_loss"; do \
	    $(BIN)/python -m analysis table $$table --out experiments/results/$${table%% *} > /dev/null || exit 1; done
	$(BIN)/python -m analysis figure softmax_costs softmax_costs --out experiments/results/softmax_costs
	$(BIN)/python -m analysis figure accuracy_by_labels accuracy_by_labels --out experiments/results/accuracy_by_labels
	$(BIN)/python -m analysis figure pretexts_of_sentiment accuracy_by_labels --out experiments/results/pretexts_of_sentiment
	$(BIN)/python -m analysis figure pretext_length interaction --out experiments/results/pretext_length
	$(BIN)/python -m analysis figure masking_by_cell_unbucketed curves --out experiments/results/masking_by_cell_unbucketed
	$(BIN)/python -m analysis figure leave_one_out forest --out experiments/results/leave_one_out
	$(BIN)/python -m analysis figure faults causes --out experiments/results/faults
	$(BIN)/python -m analysis figure execution_by_size ratio_by_parameters --out experiments/results/execution_by_size
	$(BIN)/python -m analysis figure attention_scores by_length --out experiments/results/attention_scores
	$(BIN)/python -m docs.generated

docs: $(READY) ## the generated parts of the documents, and the site in site/
	$(BIN)/python -m docs.generated
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

test: $(READY) ## runs all tests
	$(BIN)/python -m pytest

slow: $(READY) ## runs the tests with several processes: workers killed at random, a tracking server, PostgreSQL, Ray
	$(BIN)/python -m pytest -m slow --dist load

check: $(READY) ## style, types, and the allowed imports between packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY) ## fixes the style automatically
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(READY) ## resolves the dependencies again, for all platforms, without registry addresses
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --group pyproject.toml:dev --extra ray --extra slurm pyproject.toml -o requirements.lock

benchmark: $(READY) ## measures speed and memory against their goals, below 40 minutes
	$(BIN)/python -m benchmarks
