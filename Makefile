PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

STAGE ?= dev
# the longest first, so that none is left alone at the end
TORTURED := fuzz forgeries simulation openapi faults lambda_shapes payloads crashes torture

.PHONY: run test lint format package bench torture clean

run: $(INSTALLED)  ## everything set up and running on this machine
	@exec $(BIN)/python -m ops.local.run

test: $(INSTALLED) lint  ## all checks and tests
	$(BIN)/pytest

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/cfn-lint infra/resources.yaml

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

package: $(INSTALLED)  ## one template and one zip of STAGE, in build/package-STAGE
	$(BIN)/daybook package --stage $(STAGE)

bench: $(INSTALLED)  ## measure beside what others would install; writes build/bench.json
	$(BIN)/python -m bench.run

torture: $(INSTALLED)  ## the long form of what is tried at random; figures in build/torture.json
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,torture]'
	rm -f build/torture.json
	TORTURE=1 $(BIN)/pytest --numprocesses 5 --dist load --maxschedchunk 1 $(TORTURED:%=tests/test_%.py)
	@cat build/torture.json

clean:
	rm -rf .venv build

$(INSTALLED): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Daybook needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
