# Everything that a machine with Rust, Python and make needs: each target does its own set-up.
#
#   make help          prints this
#   make demo          trains the digit network, compresses it in every way, prints the table
#   make demo DATA=DIR the same on MNIST's idx files
#   make test          every test, Rust and Python (JOBS=0: one after the other; TEST_PROFILE=release)
#   make test-isas     what depends on the instruction set, on each that this CPU has
#   make test-emulated the same under QEMU on CPUs of 2008 and 2013, with ONNX Runtime, and Rust on three ARM
#                      cores; takes half an hour on two cores, an hour beside other work
#   make lint          rustfmt, clippy, ruff, mypy, stubs, what the crates are packed of
#   make docs          the documentation, into build/site; ends at a warning or a dead link
#   make bench         criterion and pytest-benchmark
#   make plots         draws the plots of docs/methods.md
#   make screenshots   makes the pictures of the documentation, in Chromium
#   make peers         beside torch, ONNX Runtime and MKL; writes docs/peers.md (WEIGHTS=, DATA=)
#   make networks      whole networks beside their peers; writes docs/networks.md and the README's table (DATA=)
#   make develop       installs the working tree into .venv
#   make wheels        wheels for Linux on x86_64 and aarch64, glibc and musl, into dist (packaging/wheels)
#   make crates        packs the three libraries in Rust as crates, and builds what was packed
#   make semver        what their interfaces changed since a commit (SINCE=), by cargo-semver-checks

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# How the extension is compiled, one of Cargo.toml's profiles. What Rust tests leave serves the extension in `dev`.
PROFILE ?= release
TEST_PROFILE ?= dev
# Tests of Python run side by side.
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
# Cargo would share the jobs of `make -j` with what only waits.
ALL_CORES := env -u MAKEFLAGS -u MFLAGS
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml

# What .ci/run repeats; tests that go through every instruction set by themselves are not.
NUMERICS := numerics and not each_isa
ISAS := from qcore import _core as c; print(*c.available_isas())

# The libraries; qcore-py is packed as wheels.
CRATES := -p qcore-kernels -p qcore-graph -p qcore-files
SINCE ?= HEAD~1

PEERS = $(if $(WEIGHTS),--weights $(WEIGHTS)) $(if $(DATA),--data $(DATA))

.PHONY: help demo docs test test-rust test-python test-isas test-emulated lint bench peers networks plots screenshots develop
.PHONY: wheels crates semver clean

help:
	@sed -n 's/^#  *\(make .*\)/\1/p' Makefile

demo: $(VENV)/.demo
	$(BIN)/qcore demo $(if $(DATA),--data $(DATA))

# What Python needs is fetched while the Rust tests are compiled; the extension takes what they left.
test:
	$(MAKE) -j2 test-rust $(VENV)/.develop-$(TEST_PROFILE)
	$(PYTEST)

# With the bindings, though they have no tests: crates then have the features that the extension's have, and serve both.
test-rust:
	$(ALL_CORES) cargo test --locked --workspace --exclude qcore-benches

test-python: $(VENV)/.develop-$(TEST_PROFILE)
	$(PYTEST)

# On the release, as wheels have it.
test-isas: $(VENV)/.develop-release
	set -e; for isa in $$($(BIN)/python -c '$(ISAS)'); do \
		echo "QCORE_ISA=$$isa"; export QCORE_ISA=$$isa; \
		cargo test --locked --quiet -p qcore-kernels --test kernels; \
		$(PYTEST) -m '$(NUMERICS)' tests/python; \
	done

test-emulated: develop
	tests/emulated/x86_64 $(BIN)/python
	tests/emulated/aarch64 -p qcore-kernels -p qcore-graph

# Any profile's extension has the names that the stubs are held to.
lint: $(firstword $(wildcard $(VENV)/.develop-*) $(VENV)/.develop-$(TEST_PROFILE))
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --workspace --quiet
	cargo package --locked --allow-dirty --no-verify --quiet $(CRATES)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest qcore._core --ignore-disjoint-bases

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

bench: develop
	cargo bench --locked -p qcore-benches
	$(BIN)/python -m pytest benches/python --benchmark-enable

plots: develop
	$(BIN)/pip install -q matplotlib
	$(BIN)/python -m docs.plots

screenshots: develop
	$(BIN)/python docs/screenshots.py

peers: develop
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benches.peers --out docs $(PEERS)

networks: develop
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benches.peers.tiny $(if $(DATA),--data $(DATA)) --svg docs/networks.svg | $(BIN)/python docs/splice.py docs/networks.md networks
	$(BIN)/python -m benches.graph.convolutions | $(BIN)/python docs/splice.py docs/networks.md large
	$(BIN)/python docs/summary.py | $(BIN)/python docs/splice.py README.md networks

develop: $(VENV)/.develop-$(PROFILE)

wheels:
	packaging/wheels

crates:
	cargo package --locked $(CRATES)

semver:
	command -v cargo-semver-checks >/dev/null || cargo install --locked cargo-semver-checks
	cargo semver-checks --baseline-rev $(SINCE) $(CRATES)

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.venv $(SOURCES)
	$(BIN)/python -m pip install --quiet '.[demo]'
	touch $@

$(VENV)/.docs: $(VENV)/.venv pyproject.toml
	$(BIN)/python -m pip install --quiet 'mkdocs-material>=9.5' 'mkdocstrings-python>=1.10' 'ruff>=0.6'
	touch $@

# Editable: Python sources are used in place, the extension is rebuilt when a Rust source changes. There is one
# extension: what another profile made is gone.
$(VENV)/.develop-%: $(VENV)/.venv $(SOURCES)
	rm -f $(VENV)/.develop-*
	$(ALL_CORES) $(BIN)/python -m pip install --quiet --editable '.[demo,test]' \
		--config-settings=build-args='--profile=$*'
	touch $@

clean:
	rm -rf $(VENV) target
