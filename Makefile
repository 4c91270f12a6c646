# Every target sets up what it needs: Python 3.11 or newer and make are all that has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOPICS := core deadlines speed rates monitor gpu
# What else runs compiled, where that could make a difference.
INTERPRETED := tests/core/test_cost.py tests/core/test_credit.py tests/core/test_credit_keeps.py tests/core/test_credit_lives.py \
	tests/core/test_credit_preference.py tests/core/test_mailbox.py tests/core/test_message.py tests/core/test_losses.py \
	tests/core/test_losses_torn.py tests/memory tests/recorder tests/wire tests/conformance/test_links.py \
	tests/conformance/test_lives.py tests/conformance/test_strangers.py \
	tests/simulation/test_crash_points.py
KERNELS := tests/core tests/memory tests/recorder tests/wire
VIRTUAL := tests/nodes tests/simulation tests/testing
# Real processes of which something is counted and nothing timed, so that others may work beside them; in three parts.
RUNS_A := $(patsubst %,tests/end_to_end/test_%.py,bad_input by_hand cabin devices faults hygiene large_tensors resident_tensors spectrum_gpu)
RUNS_B := $(patsubst %,tests/end_to_end/test_%.py,logs many_streams metrics monitor priority readme recordings recurrent_states report)
RUNS_C := $(patsubst %,tests/end_to_end/test_%.py,recording_mcap smoother states survival torch trace warm_start wheel)
RUNS := $(RUNS_A) $(RUNS_B) $(RUNS_C)
COMMANDS := tests/cli tests/conformance tests/transport tests/test_structure.py tests/tools/monitor \
	tests/runtime/test_fork_server.py tests/runtime/test_hygiene.py \
	$(patsubst %,tests/tools/test_%.py,cabin_reference claims_batching claims_gpu claims_monitor claims_rates dashboards gpu_check peers reclaim)

.PHONY: demo test sources kernels pipelines-in-virtual-time runs-A runs-B runs-C commands lint lock claims $(TOPICS:%=claims-%) bench-peers compiled clean

demo: compiled
	@echo "15 s of this machine's own signals; what is unusual appears as an alert. Start something heavy to see one."
	$(BIN)/streamflow run pipelines/host.py --duration 15

# First what measures no time, side by side: runs, which mostly wait, beside what computes. The rest has the machine alone.
test: $(VENV)/ready
	$(MAKE) --jobs=2 --output-sync compiled lint sources runs-A runs-B kernels pipelines-in-virtual-time runs-C commands
	$(BIN)/python -m pytest $(patsubst %,--ignore=%,$(KERNELS) $(VIRTUAL) $(RUNS) $(COMMANDS))

sources: $(VENV)/ready
	STREAMFLOW_COMPILED=no $(BIN)/python -m pytest $(INTERPRETED)

kernels: compiled
	$(BIN)/python -m pytest $(KERNELS)

pipelines-in-virtual-time: compiled
	$(BIN)/python -m pytest $(VIRTUAL)

runs-A runs-B runs-C: runs-%: compiled
	$(BIN)/python -m pytest $(RUNS_$*)

commands: compiled
	$(BIN)/python -m pytest $(COMMANDS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

claims: $(TOPICS:%=claims-%)

$(TOPICS:%=claims-%): claims-%: compiled
	$(BIN)/python -m tools.claims.$* $(ARGS)

# The peers' own environments are made below .peers/ the first time: about 1.3 GB, and some minutes of a good connection.
bench-peers: compiled
	$(BIN)/python -m tools.bench.peers $(ARGS)

# Where sources have changed since, they run as sources until this was done; it takes no time where nothing has.
compiled: $(VENV)/ready
	@$(BIN)/python -m tools.compile

# The lock holds what extra `all` has and the development tools, with hashes, for Python 3.11 and newer.
$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("streamflow needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name one with make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@echo "making $(VENV) and installing what is locked: half a minute"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	STREAMFLOW_COMPILED=no $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Run by a maintainer with uv installed; users never need it.
lock:
	uv pip compile pyproject.toml --extra all --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
