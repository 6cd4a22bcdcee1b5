# Everything that a machine with Rust, Python and make needs: each target does its own set-up.
#
#   make demo          trains the digit network, compresses it in every way, prints the table
#   make demo DATA=DIR the same on MNIST's idx files
#   make test          every test, Rust and Python
#   make lint          rustfmt, clippy, ruff, mypy, stubs
#   make bench         criterion and pytest-benchmark
#   make screenshots   makes the pictures of the documentation, in Chromium
#   make peers         beside torch, ONNX Runtime and MKL; writes docs/peers.md (WEIGHTS=, DATA=)
#   make develop       installs the working tree into .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROFILE ?= release
SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml

PEERS = $(if $(WEIGHTS),--weights $(WEIGHTS)) $(if $(DATA),--data $(DATA))

.PHONY: demo test test-rust test-python lint bench peers screenshots develop clean

demo: $(VENV)/.demo
	$(BIN)/qcore demo $(if $(DATA),--data $(DATA))

test: test-rust test-python

test-rust:
	cargo test --locked --workspace

test-python: develop
	$(BIN)/python -m pytest

lint: develop
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest qcore._core --ignore-disjoint-bases

bench: develop
	cargo bench --locked
	$(BIN)/python -m pytest benches/python --benchmark-enable

screenshots: develop
	$(BIN)/python docs/screenshots.py

peers: develop
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benches.peers --out docs $(PEERS)

develop: $(VENV)/.develop

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.venv $(SOURCES)
	$(BIN)/python -m pip install --quiet '.[demo]'
	touch $@

# Editable: Python sources are used in place, the extension is rebuilt when a Rust source changes.
$(VENV)/.develop: $(VENV)/.venv $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[demo,test]' \
		--config-settings=build-args='--profile=$(PROFILE)'
	touch $@

clean:
	rm -rf $(VENV) target
