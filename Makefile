# Every target works alone on a fresh clone. It needs Python 3.11 or newer with venv and pip,
# and makes an environment of its own in .venv, once.

PYTHON ?= python3
SECONDS ?= 60
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
READY_PEERS := $(VENV)/ready-peers
READY_BENCH := $(VENV)/ready-bench
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
WORKSHEET := keras --dialect keras --x '1, 2, 9, 8' \
	--W '-0.90954137, 1.0425225, -0.04404902' --U '0.24168766, 0.8981342, 0.36734456'
VALIDATION := 'import json, sys; print("== Validation:", round(min(json.loads(line)["validation_bits"] \
	for line in open(sys.argv[1])), 3), "bits per character on the held-out tenth")'

.PHONY: help demo test check test-peers test-machines bench bench-peers format clean

help:
	@echo "make demo        see it work: equations, a worksheet, a model trained for a minute"
	@echo "make test        run all tests but those of make test-peers"
	@echo "make check       format, lint, types, then make test"
	@echo "make test-peers  compare with other frameworks and a browser, which it installs or finds"
	@echo "make test-machines  run the kernel tests on other instruction sets; emulates ARM"
	@echo "make bench       time the layers against torch.nn.GRU"
	@echo "make bench-peers time them against every framework it can install (ten minutes and more)"
	@echo "make format      format the code"
	@echo "make clean       remove .venv and caches"

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit("grus needs Python 3.11 or newer; make PYTHON=python3.12 picks another" if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV), once. PyTorch is a large download; this takes a minute or more."
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) -e '.[torch,convert,pictures,page,search,tasks,dev]'
	@touch $@

$(READY_PEERS): $(READY)
	@echo "Installing the frameworks to compare with."
	@$(INSTALL) -e '.[torch,convert,pictures,page,search,tasks,dev,peers]'
	@touch $@

$(READY_BENCH): $(READY)
	@echo "Installing the frameworks to measure."
	@$(INSTALL) -e '.[torch,convert,pictures,page,search,tasks,dev,bench]'
	@touch $@

demo: $(READY)
	@echo
	@echo "== The equations: grus show gru"
	@echo
	@$(BIN)/grus show gru
	@echo
	@echo "== A sequence by hand: grus explain keras ..."
	@echo
	@$(BIN)/grus explain $(WORKSHEET)
	@echo
	@echo "== Training for $(SECONDS) seconds on text that every Python carries: grus train"
	@echo
	@run=runs/demo; n=2; \
	while [ -e "$$run" ]; do run=runs/demo-$$n; n=$$((n + 1)); done; \
	$(BIN)/grus train --seconds $(SECONDS) --out "$$run" && \
	echo && echo "== What it writes now: grus sample $$run" && echo && \
	$(BIN)/grus sample "$$run" --length 400 --temperature 0.7 && echo && \
	$(BIN)/python -c $(VALIDATION) "$$run/metrics.jsonl" && \
	echo && echo "== Watch it read, character by character: $(BIN)/grus serve $$run"

test: $(READY)
	@$(BIN)/python -m pytest -m "not peers" -n auto --dist loadfile --no-loadscope-reorder

check: $(READY)
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory test

test-peers: $(READY_PEERS)
	@$(BIN)/python -m pytest -m peers

test-machines: $(READY)
	@$(BIN)/python tests/machines/run.py

bench: $(READY)
	@$(BIN)/grus bench

bench-peers: $(READY_BENCH)
	@$(BIN)/grus bench --peers

format: $(READY)
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build
