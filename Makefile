# One virtual environment, .venv; `make verify` on a fresh machine needs Python 3.11 and nothing else.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
VERIFY_FLAGS ?=

.PHONY: verify deep test lint figures readme schedulers comparison ambient-grid distilled bench clean

.venv/verify: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[verify]'
	touch $@

.venv/dev: .venv/verify
	$(PIP) --editable '.[verify,dev]'
	touch $@

.venv/models: .venv/dev
	$(PIP) --editable '.[verify,dev,models,dask]'
	touch $@

# Every claim of every paper; the report is one page, report.html.
verify: .venv/verify
	$(BIN)/fewtheory verify --json results.json --html report.html $(VERIFY_FLAGS)

# The expensive claims too; their verdicts and the date are committed.
deep: .venv/models
	$(BIN)/fewtheory verify --deep --record verification/deep.json $(VERIFY_FLAGS)

test: .venv/models
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: .venv/models
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The notebooks, run from top to bottom; they write into paper_figs/.
figures: .venv/models
	$(BIN)/jupyter execute --inplace notebooks/*.ipynb

# The README's generated parts, from the last `make verify` and `make figures`.
readme: .venv/dev
	$(BIN)/python docs/readme.py
	$(BIN)/python docs/cards.py

# Every sampler on every grid at 3 to 20 evaluations: what docs/comparison.json does not hold yet.
comparison: .venv/models
	$(BIN)/python docs/compare.py
	$(BIN)/python docs/search_regret.py

# The verdict on every scheduler of diffusers, the known findings and the kill matrix, in docs/.
schedulers: .venv/models
	$(BIN)/python docs/schedulers.py

# Seventy small models on noisy digits: what docs/ambient-grid.json does not hold yet.
ambient-grid: .venv/models
	$(BIN)/python docs/ambient_grid.py

# Students of every distillation method: what docs/distilled.json does not hold yet.
distilled: .venv/models
	$(BIN)/python docs/distilled.py

bench: .venv/models
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv report.html results.json
