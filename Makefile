# Every target sets up by itself what it needs. Works with GNU make 3.81 and newer.

PYTHON ?= python3
STACK_OR_DEV = $(if $(STACK),$(STACK),dev)
PY = .venv/bin/python
COMPILE = $(PYTHON) -m tools.uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.10 \
	--generate-hashes --no-emit-index-url --custom-compile-command 'make lock'
LOCK = $(COMPILE) pyproject.toml
LOCK_GROUP = $(COMPILE) --group pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help setup setup-runtime rehearse rehearse-server rehearse-stop bench test test-slow test-all test-server faults \
	faults-table docker \
	test-python contract record lint up \
	preview destroy pulumi status ask open models plan advisories catalogue lock clean

help:
	@echo 'Without a cloud account:'
	@echo '  make rehearse        the whole lab on this machine: up, a question, drift, destroy'
	@echo '                       STACK=name  one of your own stacks, secrets replaced'
	@echo '                       KEEP=1      leave it standing and print the addresses'
	@echo '                       PLUGIN=real with the installed alicloud plugin, not ours'
	@echo '  make rehearse-server the same on a real server, a container: apt, systemd, Docker judge'
	@echo '  make rehearse-stop   end a rehearsal that was left standing'
	@echo '  make bench           what an up that changes nothing costs, beside an empty program'
	@echo '  make models          which chat models fit the GPU beside the others, and how'
	@echo '                       STACK=name, CARD=T4, TYPE=ecs.gn8is.2xlarge, MODEL=qwen3'
	@echo '  make plan            what would be rented, where, at what price; what is wrong with it'
	@echo '                       STACK=name (default dev), JSON=1 for programs'
	@echo '  make test            lint, types, unit, contract and rehearsal tests'
	@echo '  make test-all        those, the slow ones, and those on a real server (Linux, Docker)'
	@echo '  make test-slow       the slow ones only: whole labs, made and ended'
	@echo '  make test-server     the latter only: apt, systemd, Docker, PostgreSQL, MariaDB judge'
	@echo '  make faults          what a lab survives: docs/trust.md; TIER=stage or TIER=server'
	@echo '  make test-python     the unit tests with another Python: PYTHON=python3.13'
	@echo '  make contract        our clients on the real OneAPI, and on the doubles'
	@echo '  make lint            lint, format and types only'
	@echo
	@echo 'With an Alibaba Cloud account (it costs money by the hour):'
	@echo '  make up              build the lab; STACK=name (default dev), ARGS="--yes"'
	@echo '  make status          what stands, what it serves, what it costs'
	@echo '  make open            the pages through SSH, in the browser'
	@echo '  make ask Q="..."     ask the lab a question'
	@echo '  make pulumi ARGS=... any other command of the Pulumi CLI found by the set-up'
	@echo '  make destroy         end the lab and the bill'
	@echo
	@echo 'For those who work on it:'
	@echo '  make setup           virtual environment, Pulumi CLI, token vocabulary'
	@echo '  make record SERVICE=fastgpt URL=http://...   record a real service anew'
	@echo '  make advisories LIST=folder  which advisories (OSV) the table of releases does not know'
	@echo '  make catalogue       the list of models anew, from the pinned Xinference (300 MB)'
	@echo '  make lock            what pyproject.toml asks for into the lock files;'
	@echo '                       UPGRADE=1  the newest versions that it allows'
	@echo '  make clean           delete what was made in this folder (not the cache folder)'

# Returns at once when everything is there: the set-up keeps stamps of its own.
setup:
	@$(PYTHON) tools/setup.py --dev

setup-runtime:
	@$(PYTHON) tools/setup.py

# STACK and KEEP reach the rehearsal as environment variables, as make hands them on.
rehearse: setup
	@$(PY) -m rehearsal

rehearse-server: setup
	@$(PY) -m rehearsal server

rehearse-stop: setup
	@$(PY) -m rehearsal stop

bench: setup
	@$(PY) -m tools.bench

test: setup
	@$(PY) -m tools.run_tests

test-slow: setup
	@$(PY) -m tools.run_tests slow

test-all: setup
	@$(PY) -m tools.run_tests everything

test-server: setup
	@$(PY) -m tools.run_tests server

# Every fault of docs/trust.md, and their table; FAULTS_WRITE=1 writes it there when all held.
faults: setup
	@$(PY) -m tools.run_tests faults-$(or $(TIER),all)

# The table alone, of what runs with FAULTS_LOG=file noted in that file.
faults-table: setup
	@$(PY) -m tests.faults $(TIER)

# An engine for the real server; as root it is installed where it is missing.
docker: setup
	@.ci/docker

# The unit tests with another Python, in an environment that is thrown away: make test-python
# PYTHON=python3.13
test-python:
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PYTHON) -m tools.uv venv --quiet --python $(PYTHON) "$$folder/venv" && \
	$(PYTHON) -m tools.uv pip sync --quiet --require-hashes --python "$$folder/venv/bin/python" \
		requirements-dev.txt && \
	"$$folder/venv/bin/python" -m tools.run_tests unit

contract: setup
	@$(PY) -m pytest -q tests/contract

# SERVICE, URL and UPSTREAM go by the environment, and so does the password (RECORD_PASSWORD).
record: setup
	@SERVICE="$(SERVICE)" URL="$(URL)" $(PY) -m tests.contract.record

lint: setup
	@$(PY) -m tools.run_tests lint

up: setup-runtime
	@$(PY) -m tools.cloud up --stack "$(STACK_OR_DEV)" $(ARGS)

preview: setup-runtime
	@$(PY) -m tools.cloud preview --stack "$(STACK_OR_DEV)" $(ARGS)

destroy: setup-runtime
	@$(PY) -m tools.cloud destroy --stack "$(STACK_OR_DEV)" $(ARGS)

# Any other command of the set-up's CLI: make pulumi ARGS='stack init mine'
pulumi: setup-runtime
	@$(PY) -m tools.cloud cli $(ARGS)

status: setup-runtime
	@$(PY) -m tools.status

open: setup-runtime
	@$(PY) -m tools.open

# The question goes by the environment: a shell must not read its quotes.
ask: setup-runtime
	@$(PY) -m tools.ask "$$Q"

# STACK, TYPE, CARD and MODEL reach it as environment variables, as make hands them on.
models: setup-runtime
	@$(PY) -m tools.models

# STACK and JSON reach it as environment variables, as make hands them on.
plan: setup-runtime
	@$(PY) -m tools.plan

advisories: setup-runtime
	@$(PY) -m tools.advisories $(LIST)

catalogue: setup-runtime
	@$(PY) -m tools.vendor_lists

# For every system, and for Python from 3.10 on. What is locked stays unless UPGRADE is set.
lock:
	$(LOCK) -o requirements.txt
	$(LOCK) --group dev --constraints requirements.txt -o requirements-dev.txt
	$(LOCK_GROUP):go -o tools/requirements-go.txt
	$(LOCK_GROUP):uv -o tools/requirements-uv.txt

clean:
	@if [ -x $(PY) ] && [ -d .rehearsal ]; then $(PY) -m rehearsal stop || true; fi
	rm -rf .venv .rehearsal .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo 'The Pulumi CLI stays in the cache folder (~/.cache/ai-lab, or AI_LAB_CACHE).'
