# Everything starts from python3 and make: `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help env demo test test-all lint type format docs conf site mutants bench performance wheel lock clean
BIN := .venv/bin
UV_VERSION := 0.13.9
# Where it is set, every process compiles thousands of modules again, for 15 seconds.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

env: .venv/.ready ## set up .venv from requirements.lock

.venv/.ready: requirements.lock pyproject.toml
	@test -x $(BIN)/uv || { python3 -m venv .venv && $(BIN)/python -m pip install --quiet uv==$(UV_VERSION); }
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: env ## run the main job on the bundled digits and print the result
	$(BIN)/unlearn +experiment=demo

test: env ## the tests, without the long ones
	$(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal

test-all: env ## every test, the long ones too
	$(BIN)/python -m pytest

lint: env ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: env ## mypy, strict
	$(BIN)/mypy

format: env ## let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: env ## write docs/evaluation.md from the docstrings, and the schema of report.json
	$(BIN)/python scripts/docs/evaluation.py
	$(BIN)/python scripts/docs/report_schema.py

conf: env ## write into conf/ what each option is and what its settings mean
	$(BIN)/python scripts/docs/conf.py

site: env ## build the documentation site into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f scripts/docs/mkdocs.yml

mutants: env ## do the tests notice a changed operator or constant? ARGS="--count 300 --seed 0" (hours; not in CI)
	$(BIN)/uv run --no-project --script scripts/mutants/run.py $(ARGS)

bench: env ## time the hot paths against their rivals
	$(BIN)/python scripts/bench/table.py

performance: bench ## time them, and write docs/performance.md
	$(BIN)/python scripts/docs/performance.py

wheel: env ## build dist/unlearn-*.whl, which runs anywhere: the configs are inside
	$(BIN)/hatchling build -t wheel

lock: env ## pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --extra dev \
	  pyproject.toml -o requirements.lock --upgrade --quiet

clean: ## remove caches and build outputs (never the store of artifacts)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
