# demo and test are the two commands of the README; each sets up .venv by itself.
.PHONY: demo test coverage check docs bench lock clean
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

demo: .venv/demo
	$(BIN)/audit run examples/credit/audit.toml --exit-zero

test: .venv/test .venv/axe check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# The same tests with the share of lines that they reach, one worker: tracing with several has lost the data of one.
coverage: .venv/test .venv/axe
	OMP_NUM_THREADS=1 $(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/pytest --cov=audit --cov-report=term --cov-config=pyproject.toml

check: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What is written from the code: the pages of the checks and the two JSON Schemas.
docs: .venv/test
	$(BIN)/python -m audit.workflows.docs

bench: .venv/test
	$(BIN)/python -m benchmarks --all

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "audit needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

.venv/test: .venv/demo
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

# The accessibility rules that the browser tests run; without npm those tests say that they were skipped.
.venv/axe: | .venv/demo
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix $@ axe-core@4.14.1; fi

# Exactly what every machine installs. A CPU build of torch calls itself 2.13.0+cpu, a name that exists nowhere else.
lock:
	rm -rf .venv-lock .PHONY: demo test coverage check docs.PHONY: demo test coverage check docs $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet 'torch==2.13.0' '.[test]'
	{ echo '# Made by `make lock`.'; .venv-lock/bin/pip freeze | grep -v '^neural-audit' | sed 's/+cpu$$//'; } > constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-lock out build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
