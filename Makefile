# Every target sets itself up: `.venv` is made when it is absent or half-made, and brought up to date when
# pyproject.toml or constraints.txt changed (docs/setting-up.md).
VENV := .venv
BIN := $(VENV)/bin

# Programs ask the user database where HOME is unset, but take an empty one for the root folder.
ifeq ($(strip $(HOME)),)
unexport HOME
endif

# Some images forbid Python to keep what it compiled: each of the many processes of a run would compile all anew.
unexport PYTHONDONTWRITEBYTECODE

# A process a core and one more, since some wait for what they started; each has one thread (tests/conftest.py), and
# nothing is timed in them. A file's tests stay together: what they share, an inner session of half a minute, is made
# once. Long files come first (tests/conftest.py).
TESTS := $(BIN)/python -m pytest tests -q -n $(shell echo $$(($$(nproc) + 1))) --maxprocesses 8 --dist loadfile --no-loadscope-reorder \
    --benchmark-disable --durations 20

.PHONY: setup bench matrix test test-all dashboard lint clean bundle

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
	$(BIN)/ruff format --check .

setup:                  ## .venv; PYTHON=python3.12 chooses a Python, WHEELS=DIR installs from a bundle without network
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/with-python.sh scripts/setup.py --venv "$(VENV)" --wheels "$(WHEELS)"

bundle:                 ## wheels for a machine without network: PYTHON=3.12 PLATFORM=manylinux2014_aarch64 [OUT=DIR] [TORCH=own | KEEP=torch,numpy]
	@PYTHON= VENV="$(VENV)" sh scripts/with-python.sh scripts/bundle.py \
		--python "$(PYTHON)" --platform "$(PLATFORM)" --out "$(OUT)" --torch "$(TORCH)" --keep "$(KEEP)"

clean:
	rm -rf $(VENV) .benchmarks outputs *.egg-info
