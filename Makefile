# Two commands: `make demo` and `make test`. Everything else is a part of them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PYTEST ?=
WORKERS ?= 3

.PHONY: demo test lint types unit pages bench stop clean

demo: $(READY)
	$(BIN)/scircuit demo

test: lint types unit

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "scircuit needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Use: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 1; }
	@echo "setting up $(VENV): about 3 GB, most of it PyTorch with its CUDA libraries; this takes a few minutes once"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $@

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) links
	$(BIN)/pyright

# The package as it is imported, for tools that read no editable install: a tree of links to the files.
.PHONY: links
links:
	@rm -rf build/links && mkdir -p build/links/scircuit
	@cp -rs "$(CURDIR)"/scircuit/. build/links/scircuit/
	@for room in tracing ingest analysis queries; do cp -rs "$(CURDIR)/$$room" build/links/scircuit/; done

# In several processes of one thread each: many tests wait for a server or for another program
unit: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(PYTEST)

# Pages and pictures of docs/ that are generated from the code
pages: $(READY)
	$(BIN)/python -m tools.pages

# The documentation site, in build/site; open build/site/index.html
.PHONY: docs
docs: $(READY) links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Wheel and sdist, in build/dist; the wheel is built from the sdist
.PHONY: dist
dist: $(READY)
	@rm -rf build/dist && mkdir -p build/dist
	@$(BIN)/python -m build --no-isolation --outdir build/dist . >build/dist.log 2>&1 || { cat build/dist.log; exit 1; }
	$(BIN)/python -m tools.check_dist build/dist

bench: $(READY)
	$(BIN)/python bench/tracing.py --json
	$(BIN)/python bench/ingest.py --json
	$(BIN)/python bench/calibration.py --json

stop: $(READY)
	$(BIN)/scircuit db stop

clean:
	rm -rf $(VENV) build dist *.egg-info
