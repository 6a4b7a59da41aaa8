# Everything that a developer runs. Each target sets up what it needs: the environment is .venv, the contracts' tools
# are contracts/node_modules. `make help` lists the targets.

PYTHON ?= python3
ARGS ?=

# An index with other builds of torch (CPU only, for one) is asked besides the usual one: TORCH_INDEX_URL=https://…
PIP_INDEX := $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))
BIN := .venv/bin
VENV := .venv/installed
NODE := contracts/node_modules/installed
GETH := .tools/bin/geth
KUBO := .tools/bin/ipfs
HELIA := interop/helia/node_modules/.installed
HIVEMIND := .tools/hivemind/installed

.DEFAULT_GOAL := help
.PHONY: help .venv demo test lint unit contracts interop bench bench-compare accept-loop accept-merge accept-control accept-content clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z.-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.venv: $(VENV) ## the environment, from pyproject.toml and constraints.txt

$(VENV): pyproject.toml constraints.txt
	@tools/system-packages python "$(PYTHON)"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_INDEX) -c constraints.txt -e '.[dev]'
	@# libp2p brings trio-typing, whose stubs of a trio of years ago would hide trio's own types from mypy
	@rm -rf .venv/lib/python3*/site-packages/trio-stubs
	@touch $@

$(NODE): contracts/package.json contracts/package-lock.json
	@tools/system-packages node
	cd contracts && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(GETH): tools/geth
	@tools/geth
	@touch $@

$(KUBO): tools/kubo interop/kubo/go.mod interop/kubo/go.sum
	@tools/kubo
	@touch $@

$(HELIA): tools/helia interop/helia/package.json interop/helia/package-lock.json $(VENV)
	@tools/helia $(BIN)/python
	@touch $@

$(HIVEMIND): tools/hivemind benchmarks/compare/requirements.txt $(VENV)
	@tools/hivemind $(BIN)/python

demo: $(VENV) ## a whole swarm on this machine, e.g. make demo ARGS="--rounds 10 --kill leader --at claim"
	@$(BIN)/python -m examples.digits $(ARGS)

test: lint unit contracts ## everything that is checked on every change

lint: $(VENV) ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV) ## the Python tests, e.g. make unit ARGS="tests/core -k slices"
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

contracts: $(NODE) ## the contracts' tests, their format, and whether the shipped artefacts are current
	cd contracts && npm run --silent fmt
	cd contracts && npm run --silent check
	cd contracts && npm run --silent test

interop: $(VENV) $(NODE) $(GETH) $(KUBO) $(HELIA) ## against other programs: anvil, geth, Kubo, Helia
	$(BIN)/python -m pytest interop $(ARGS)

bench: $(VENV) $(NODE) ## how long a round, transfers and merges take, e.g. make bench ARGS="--mib 10"
	$(BIN)/python -m benchmarks.transfer
	$(BIN)/python -m benchmarks.merge
	$(BIN)/python -m benchmarks.round $(ARGS)

bench-compare: $(VENV) $(NODE) $(HIVEMIND) ## a round beside hivemind's all-reduce, in turns, e.g. make bench-compare ARGS="--mib 10"
	$(BIN)/python -m benchmarks.compare $(ARGS)

accept-loop: $(VENV) $(NODE) ## the long acceptance runs; takes hours on two cores
	$(BIN)/python -m interop.accept_loop $(ARGS)

accept-merge: $(VENV) ## every merge rule on more NumPys, without vector units, and on aarch64 under an emulator: equal bytes
	$(BIN)/python -m interop.accept_merge --need $(ARGS)

accept-control: $(NODE) ## the contracts at length: half a million invariant calls, planted faults, coverage, slither
	cd contracts && npm run --silent accept
	cd contracts && npm run --silent mutants
	cd contracts && npm run --silent coverage
	cd contracts && npm run --silent slither

accept-content: accept-merge $(VENV) $(NODE) $(KUBO) $(HELIA) ## content at length: a gigabyte over Bitswap and in a round, Kubo killed in every phase
	$(BIN)/python -m pytest interop/accept_content.py -rP $(ARGS)
	$(BIN)/python -m interop.accept_bounds

clean: ## remove what the targets made
	rm -rf .venv contracts/node_modules contracts/out contracts/cache contracts/.slither-venv .demo .tools interop/helia/node_modules
