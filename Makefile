# Every target sets itself up: `.venv` is made when it is absent or pyproject.toml or constraints.txt changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# A process a core, each with one thread (tests/conftest.py); nothing is timed in them.
TESTS := $(BIN)/python -m pytest tests -q -n auto --maxprocesses 8 --dist worksteal --benchmark-disable --durations 20

.PHONY: setup bench matrix test test-all dashboard lint clean

bench: setup            ## this machine's smoke cells, their frontier, what it means (a few minutes)
	$(BIN)/python -m pytest --benchmark-save=bench; status=$$?; \
	    $(BIN)/python -m leaderboards session && exit $$status

matrix: setup           ## the whole cpu matrix with 153 prompts
	$(BIN)/python -m pytest -m cpu --benchmark-save=matrix

test: setup             ## the project's own tests, but for the slow ones
	$(TESTS) -m "not slow"

test-all: setup         ## all of them
	$(TESTS)

dashboard: setup        ## browse committed and local results
	$(BIN)/python -m leaderboards publish --include-local --output .benchmarks/published >/dev/null
	TEXT3D_PUBLISHED=.benchmarks/published $(BIN)/python -m streamlit run dashboard/app.py

lint: setup
	$(BIN)/ruff check .

setup: $(READY)

# A board's vendor torch (JetPack, NGC) is used through --system-site-packages and never replaced.
$(READY): pyproject.toml constraints.txt setup.sh
	PYTHON="$(PYTHON)" sh setup.sh $(VENV)
	touch $(READY)

clean:
	rm -rf $(VENV) .benchmarks outputs *.egg-info
