# Everything runs in one virtual environment, made when it is missing: make VENV=/elsewhere test
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
SITE   ?= site
READY  := $(VENV)/.ready

.PHONY: demo test test-slow test-long fuzz audit faults lint docs bench lock clean help

help:
	@echo "make demo   set up, then select 10 % of 50,000 generated points, Parquet to Parquet"
	@echo "make test   set up, then pass the tests: minutes"
	@echo "make test-slow  set up, then pass those that need servers or executors of their own, and all properties at length"
	@echo "make test-long  set up, then pass those that repeat on many parts what slow tests show on few, and properties with many examples"
	@echo "make fuzz   set up, then give random bytes and structures to whatever takes some, MINUTES=30 by default"
	@echo "make audit  set up, then ask a database of known holes about all that is installed, if it can be reached"
	@echo "make faults     set up, then kill runs at random moments, fill disks, remove files: KILLS=40 SECONDS=3600 SEED="
	@echo "make lint   set up, then ruff and mypy --strict"
	@echo "make docs   set up, then build the documentation into site/, strictly"
	@echo "make bench  set up, then those of benchmarks/all.py, recorded and filled into the pages; BENCH=--quick: those of minutes"
	@echo "make lock   renew constraints.txt, the versions that CI installs"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/subsel demo --overwrite

# Two files of tests at a time: most of a Spark test is waiting for another process.
SIDE_BY_SIDE := -n 2 --dist loadfile

test: $(READY)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-slow: $(READY)
	SUBSEL_EXAMPLES=full $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "(slow or hypothesis) and not long" --durations=40

test-long: $(READY)
	SUBSEL_EXAMPLES=many $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "long or hypothesis"

MINUTES ?= 30
SEED    ?= $(shell date +%Y%m%d)

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)

# Exit status 1: holes are known. A database that cannot be reached is said, and is no hole.
audit: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7'
	$(BIN)/python tests/audit.py

# At random, so nothing that a change is held up by: what it prints is read, and its seed repeats it.
KILLS   ?= 40
SECONDS ?= 3600
faults: $(READY)
	$(BIN)/python -m tests.faults --kills $(KILLS) --seconds $(SECONDS) --seed $(SEED)

lint: $(READY)
	$(BIN)/ruff check subsel jobs tests benchmarks examples docs/making
	$(BIN)/ruff format --check subsel jobs tests benchmarks examples docs/making
	$(BIN)/mypy

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

# Strict: a page that is in no section, a link or an anchor that leads nowhere is an error. Then: nothing is loaded from elsewhere.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir $(SITE)
	$(BIN)/python docs/making/check.py $(SITE)

$(VENV)/.bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.all $(BENCH)

# What CI installs: the newest versions that fit together, from an environment of their own.
lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check '.[dev,docs,bench]'
	echo "# Versions of what CI, make test, make docs and make bench install; made by make lock." > constraints.txt
	$(VENV)-lock/bin/python -m pip freeze --disable-pip-version-check --exclude subsel >> constraints.txt
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache
