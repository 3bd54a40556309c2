PYTHON ?= python3
BIN := .venv/bin
LOCKS := ops/locks
ORACLE := .venv/oracle
STAGE ?= dev
# the longest first, so that none is left alone at the end
TORTURED := core/test_fuzz core/test_forgeries core/test_simulation core/test_holder core/test_projection core/test_targets_simulation stage/test_openapi \
  stage/test_faults stage/test_lambda_shapes stage/test_payloads stage/test_crashes stage/test_torture

# compiled modules are kept in the environment, so that the next start is fast, and nowhere else
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run check test lint format package bench docs schemas torture oracle lock clean
.DEFAULT_GOAL := help

help:  ## what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-9s %s\n", $$1, $$2 }'

run: .venv/.run  ## everything set up and running on this machine, with no account
	@exec $(BIN)/python -m ops.local.run

check: .venv/.test lint  ## format, lint, types and all tests that need no stage, package or browser: seconds
	$(BIN)/pytest --dist worksteal --cov --cov-report=term:skip-covered tests/core

test: .venv/.test lint  ## all checks and tests: minutes
	$(BIN)/pytest

lint: .venv/.test
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/cfn-lint infra/resources.yaml

format: .venv/.test  ## mend formatting
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

package: .venv/.run  ## one template and one zip of STAGE, in build/package-STAGE
	$(BIN)/daybook package --stage $(STAGE)

bench: .venv/.test  ## measure beside what others would install; writes build/bench.json
	$(BIN)/python -m bench.run

docs: .venv/.test  ## the documentation as a site, in build/docs
	$(BIN)/python -m ops.site.build

schemas: .venv/.test  ## TypeScript's types of docs/schemas
	$(BIN)/python -m ops.typescript

torture: .venv/.test  ## the long form of what is tried at random; figures in build/torture.json
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[torture]'
	rm -f build/torture.json
	TORTURE=1 $(BIN)/pytest --numprocesses 5 --dist load --maxschedchunk 1 $(TORTURED:%=tests/%.py)
	@cat build/torture.json

oracle: .venv/.test $(ORACLE)/bin/ministack  ## tests/stage once more, against another emulator of AWS
	ORACLE=$(CURDIR)/$(ORACLE)/bin/ministack $(BIN)/pytest tests/stage --ignore tests/stage/test_emulator.py

# an environment of its own: it pins its own botocore
$(ORACLE)/bin/ministack: $(LOCKS)/oracle.txt | .venv/bin/uv
	@$(PYTHON) -m venv $(ORACLE)
	@$(BIN)/uv pip install --quiet --python $(ORACLE)/bin/python --require-hashes --requirement $< \
	  || $(ORACLE)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

lock: .venv/bin/uv  ## pin all that is installed for development anew, after a change of pyproject.toml
	for each in run test; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command 'make lock' --extra run --extra $$each \
	  --output-file $(LOCKS)/$$each.txt pyproject.toml; done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' --output-file $(LOCKS)/oracle.txt $(LOCKS)/oracle.in

clean:  ## remove the environment and what was built
	rm -rf .venv build

.venv/bin/uv: $(LOCKS)/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("Daybook needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCKS)/uv.txt

# uv installs in seconds; it does not read pip's own configuration, such as another index: then pip does it
.venv/.%: $(LOCKS)/%.txt pyproject.toml requirements.txt | .venv/bin/uv
	@echo "installing what 'make $*' needs into .venv"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement $< \
	  || { echo "uv could not; pip takes about a minute"; \
	       $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<; }
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . \
	  || $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
