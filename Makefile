# Everything runs in one virtual environment, made when it is missing: make VENV=/elsewhere test
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
SITE   ?= site
READY  := $(VENV)/.ready

.PHONY: demo test test-slow test-long lint docs bench clean help

help:
	@echo "make demo   set up, then select 10 % of 50,000 generated points, Parquet to Parquet"
	@echo "make test   set up, then pass the tests: minutes"
	@echo "make test-slow  set up, then pass those that need servers or executors of their own, and all properties at length"
	@echo "make test-long  set up, then pass those that repeat on many parts what slow tests show on few, and properties with many examples"
	@echo "make lint   set up, then ruff and mypy --strict"
	@echo "make docs   set up, then build the documentation into site/, strictly"
	@echo "make bench  set up, then the benchmarks that docs/benchmarks.md quotes"

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/subsel demo --overwrite

# Two files of tests at a time: most of a Spark test is waiting for another process.
SIDE_BY_SIDE := -n 2 --dist loadfile

test: $(READY)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-slow: $(READY)
	SUBSEL_EXAMPLES=full $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "slow or hypothesis"

test-long: $(READY)
	SUBSEL_EXAMPLES=many $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "long or hypothesis"

lint: $(READY)
	$(BIN)/ruff check subsel jobs tests benchmarks docs/making
	$(BIN)/ruff format --check subsel jobs tests benchmarks docs/making
	$(BIN)/mypy

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

# Strict: a page that is in no section, a link or an anchor that leads nowhere is an error. Then: nothing is loaded from elsewhere.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir $(SITE)
	$(BIN)/python docs/making/check.py $(SITE)

$(VENV)/.bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.peers_selection
	$(BIN)/python -m benchmarks.peers_graph
	$(BIN)/python -m benchmarks.cell_groups
	$(BIN)/python -m benchmarks.local_pipeline
	$(BIN)/python -m benchmarks.greedy_kernel
	$(BIN)/python -m benchmarks.beyond_greedy
	$(BIN)/python -m benchmarks.spectral_bound
	$(BIN)/python -m benchmarks.defaults
	$(BIN)/python -m benchmarks.worth
	$(BIN)/python -m benchmarks.coverage peers
	$(BIN)/python -m benchmarks.coverage large
	$(BIN)/python -m benchmarks.limits
	$(BIN)/python -m benchmarks.documents
	$(BIN)/python -m benchmarks.first_use
	$(BIN)/python -m benchmarks.paper_tables
	$(BIN)/python -m benchmarks.spark_greedy
	$(BIN)/python -m benchmarks.spark_superstep
	$(BIN)/python -m benchmarks.spark_pipeline
	$(BIN)/python -m benchmarks.spark_identity

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache
